"""Scripts, notebooks, texts with blocks of code, and shell scripts -> the code in them, each piece with its first line.

Shell lines and magics of notebooks are told apart from Python; nothing is run."""

import ast
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from finetune.errors import Fault, RecipeError, UsageError, Where
from finetune.importing import llamafactory, trl_yaml
from finetune.importing.configuration import read_configuration
from finetune.importing.draft import CARRIED, CHANGED, IDLE, LOST, UNREAD, Draft
from finetune.importing.found import Unread
from finetune.importing.opened import settings_in
from finetune.importing.script import is_run, read_script
from finetune.importing.shell import Command, commands, settings_of_flags
from finetune.importing.walking import Walker

FENCE = re.compile(r"^(?P<indent>[ \t>]*)(?P<mark>```+|~~~+)[ \t]*\{?\.?(?P<language>[\w+-]*)[^\n]*$")
SHELL = ("bash", "sh", "shell", "console", "zsh", "shell-session", "terminal")
PYTHON = ("python", "py", "python3", "ipython", "pycon", "")
CONFIGURATION = ("yaml", "yml", "json")
LANGUAGE = re.compile(r"(?:highlight|language-|lang-|source-|brush:)[ ]*(\w+)")


@dataclass(frozen=True)
class Block:
    """`first`: lines of the file before its text."""

    language: str
    text: str
    first: int


def read_document(path: Path, text: str, method: str | None) -> Draft:
    ending = path.suffix.lower()
    if ending == ".py":
        blocks: Sequence[Block] = (Block("python", text, 0),)
    elif ending == ".ipynb" or '"cells"' in text[:20_000]:
        blocks = list(_cells(path, text))
    elif ending in (".sh", ".bash", ".slurm", ".sbatch"):
        blocks = (Block("bash", text, 0),)
    else:
        blocks = blocks_of(text)
    draft = Draft(str(path), "script")
    return _read(path, text, blocks, method, draft)


def _read(path: Path, text: str, blocks: Sequence[Block], method: str | None, draft: Draft) -> Draft:
    walker = Walker(str(path))
    lines: list[Command] = []
    for block in blocks:
        if block.language in SHELL:
            lines += commands(block.text, block.first)
        elif block.language in PYTHON:
            lines += _python(block, walker, draft, len(blocks) == 1)
    walker.first = 0
    walker.the_rest()
    if is_run(walker.calls):
        from finetune.importing.versions import versions_of

        draft.tool = versions_of(walker.calls)
        for name in sorted(walker.opened):
            if not isinstance(settings_in(str(path), name), Unread):
                draft.say(CARRIED, 0, name, "the script opens it, and its values are read")
        read_script(walker.calls, walker.values, draft)
        _more(blocks, lines, draft)
        return draft
    found = _configured(path, blocks, lines, method, draft)
    if found is not None:
        return found
    from finetune.importing.prose import read_prose

    if path.suffix.lower() != ".py" and read_prose(text, walker.calls, draft):
        return draft
    message = f"{path}: nothing here trains with a library that is known: Unsloth, TRL, transformers and peft in Python"
    raise UsageError(f"{message}; LLaMA-Factory, TRL and torchtune in YAML or on a command line")


def _python(block: Block, walker: Walker, draft: Draft, alone: bool) -> list[Command]:
    """Walk a block; its shell lines."""
    text, lines = without_magics(block.text, block.first)
    walker.first = block.first
    try:
        tree = _tree(text, alone)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = block.first + (getattr(error, "lineno", 0) or 0)
        if alone:
            why = getattr(error, "msg", None) or "it is not Python"
            raise RecipeError(
                Fault(f"this is not Python that can be read: {why}", Where(draft.file, line, 1))
            ) from None
        if block.language:
            draft.say(
                UNREAD,
                line,
                f"a block of {block.language}",
                "it is not whole Python and is left out",
                "read it yourself",
            )
        return lines
    try:
        walker.walk(tree.body)
        walker.returns = walker.gives_up = False
    except RecursionError:
        draft.say(UNREAD, block.first + 1, "a block of code", "it nests too deeply to be read")
    return lines


def _tree(text: str, alone: bool) -> ast.Module:
    """SyntaxError for what is no Python. In a file that notes how it is started, those lines are passed over."""
    try:
        return ast.parse(text)
    except SyntaxError:
        if not alone:
            raise
        return ast.parse(re.sub(r"(?m)^(pip3?|conda|apt(-get)?|export|git|cd|wget|curl|uv|source) .*$", "pass", text))


def without_magics(text: str, first: int) -> tuple[str, list[Command]]:
    """Python with `pass` where a notebook's own lines stood, and what those run."""
    if re.match(r"\s*%%(bash|sh|shell|script|writefile|html|javascript|latex)\b", text):
        return "", commands("\n" + text.split("\n", 1)[-1], first) if "%%writefile" not in text else []
    rows, found = text.split("\n"), []
    more = False
    for number, row in enumerate(rows):
        magic = re.match(r"^(\s*)([!%].*)$", row)
        if more or magic:
            line = row.strip().lstrip("!%")
            found += commands(line, first + number)
            more = row.rstrip().endswith("\\")
            rows[number] = f"{magic[1] if magic else ''}pass" if magic else ""
        elif re.match(r"^\s*\w[\w.]*\?\??\s*$", row):
            rows[number] = "pass"
    return "\n".join(rows), found


def _cells(path: Path, text: str) -> Iterator[Block]:
    try:
        book = json.loads(text, strict=False)  # some hold raw control characters
        cells = book["cells"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise UsageError(f"{path} is no notebook that can be read: it is not JSON with a list of cells") from None
    rows = text.splitlines()
    at = 0
    for cell in cells if isinstance(cells, list) else ():
        source = cell.get("source") if isinstance(cell, dict) else None
        lines = source if isinstance(source, list) else str(source or "").splitlines(keepends=True)
        code = "".join(line for line in lines if isinstance(line, str))
        if not isinstance(cell, dict) or not code.strip():
            continue
        at = _found(rows, at, next(line for line in lines if str(line).strip()))
        skipped = next(number for number, line in enumerate(lines) if str(line).strip())
        if cell.get("cell_type") == "code":
            yield Block("python", code, max(0, at - skipped))


def _found(rows: list[str], at: int, line: Any) -> int:
    """The line of the file on which a cell's first line stands, less one."""
    wanted = json.dumps(str(line), ensure_ascii=False)[1:-1][:60]
    other = json.dumps(str(line))[1:-1][:60]
    for number in range(at, len(rows)):
        if wanted in rows[number] or other in rows[number]:
            return number
    return at


def blocks_of(text: str) -> list[Block]:
    """Fenced blocks of Markdown, and <pre> of HTML, also where a feed has escaped it."""
    plain = html.unescape(text) if "&lt;pre" in text or "&lt;code" in text else text
    if "<pre" in plain:
        return _Pre.blocks(plain)
    found, rows = [], text.split("\n")
    number = 0
    while number < len(rows):
        opened = FENCE.match(rows[number])
        if opened is None:
            number += 1
            continue
        start, indent = number + 1, len(opened["indent"])
        end = start
        while end < len(rows) and not rows[end].strip(" \t>").startswith(opened["mark"]):
            end += 1
        body = [row[indent:] if not row[:indent].strip(" \t>") else row for row in rows[start:end]]
        found.append(Block(opened["language"].lower(), "\n".join(body), start))
        number = end + 1
    return found


class _Pre(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.found: list[Block] = []
        self.language = ""
        self.text: list[str] | None = None
        self.first = 0

    @classmethod
    def blocks(cls, text: str) -> list[Block]:
        parser = cls()
        parser.feed(text)
        return parser.found

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = LANGUAGE.search(dict(attrs).get("class") or "")
        if tag == "pre":
            self.text, self.first = [], self.getpos()[0] - 1
        if named and named[1] not in ("js", "plaintext"):
            self.language = named[1]

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre" and self.text is not None:
            self.found.append(Block(self.language or "", "".join(self.text), self.first))
            self.text, self.language = None, ""

    def handle_data(self, data: str) -> None:
        if self.text is not None:
            self.text.append(data)


def _configured(
    path: Path, blocks: Sequence[Block], lines: Sequence[Command], method: str | None, draft: Draft
) -> Draft | None:
    """A configuration in a text, or on a command line."""
    for block in blocks:
        if block.language in CONFIGURATION:
            try:
                return read_configuration(str(path), block.text, method, path.parent, block.first)
            except UsageError:
                continue
    for line in lines:
        if line.tool == "axolotl":
            message = (
                f"line {line.line}: {line.config or 'its configuration'} is an Axolotl configuration, a recipe already"
            )
            raise UsageError(f"{path}: {message}: finetune validate {line.config or 'FILE'}")
        if line.config and not line.flags:
            raise UsageError(f"{path}: line {line.line} trains by {line.config}: finetune import {line.config}")
        if line.flags:
            settings = settings_of_flags(line, str(path))
            if line.tool == "llamafactory":
                draft.tool = f"LLaMA-Factory {llamafactory.VERSION}"
                llamafactory.read_factory(settings, path.parent, draft)
            else:
                draft.tool = "TRL"
                trl_yaml.read_trl(settings, method or line.method, draft)
            draft.account_for(settings.values())
            return draft
    return None


def _more(blocks: Sequence[Block], lines: Sequence[Command], draft: Draft) -> None:
    """What else a text shows that would train."""
    for block in blocks:
        if block.language in CONFIGURATION and re.search(r"^\s*base_model:", block.text, re.M):
            advice = "save it as a file of its own; finetune validate and finetune upgrade read it"
            draft.say(
                IDLE, block.first + 1, "a block of YAML", "an Axolotl configuration, which is a recipe already", advice
            )
        elif block.language in CONFIGURATION and re.search(r"^\s*(model_name_or_path|_component_):", block.text, re.M):
            draft.say(
                CHANGED, block.first + 1, "a block of YAML", "another training", "save it as a file and import that"
            )
    for line in lines:
        if line.tool and (line.config or line.flags):
            draft.say(
                LOST, line.line, f"a line that starts {line.tool}", "another training", "import its file by itself"
            )
