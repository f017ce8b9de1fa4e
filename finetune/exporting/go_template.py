"""A chat template of jinja -> the same in the template language of Go, which Ollama reads. Found by looking at what the
jinja writes around contents; refuses a template that does more than can be said there. Knows no model and no file."""

import itertools
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import ModelError
from finetune.formats.meaning import BadRow
from finetune.rendering.template import Render, renderer_of

Messages = Sequence[Mapping[str, str]]
_WORDS = ("Qx4", "Zq7", "Wv9", "Kj2", "Ys5")
"""Contents by which a template is looked at: words that no template writes itself."""
_SYSTEM = "Bd8"
PLACE = "{instruction}"
"""Where the question stands in the text of a run that has no chat template (finetune.generation)."""


@dataclass(frozen=True)
class Layout:
    """What stands around the contents. `first`: before the first question where there is no system message; `system`:
    before and after a system message, up to the first question, None where the template takes none; `said`: between a
    question and its answer; `next`: between an answer and the next question; `asked`: after the last question. `trims`:
    contents lose the spaces around them."""

    first: str
    system: tuple[str, str] | None
    said: str
    next: str
    asked: str
    trims: bool


def layout_of(tokenizer: Any, begin: str) -> Layout:
    """`begin`: a begin token that is not the template's business, since whoever reads it puts one there.

    ModelError if what the template writes hangs on more than the order of the roles."""
    render = renderer_of(tokenizer)
    found = _look(render, begin)
    for messages in _trials(found.system is not None):
        try:
            wanted = render(messages, None, True).removeprefix(begin)
        except BadRow:
            continue
        if filled(found, messages) != wanted:
            raise ModelError(
                "the chat template does more than Ollama's template language can say: its text hangs on more than the "
                "roles. Use --to gguf, and a program that reads the template in the file (llama.cpp, LM Studio)"
            )
    return found


def _look(render: Render, begin: str) -> Layout:
    one, two, three, four, five = _WORDS
    told = [("user", one), ("assistant", two), ("user", three), ("assistant", four), ("user", five)]
    try:
        text = render([{"role": role, "content": content} for role, content in told], None, True).removeprefix(begin)
        spaced = render([{"role": "user", "content": f"  {one}  "}], None, True)
    except BadRow as bad:
        raise ModelError(f"the chat template cannot be put into Ollama's language: {bad}") from None
    pieces = _between(text, [one, two, three, four, five])
    first, said, following, said_again, following_again, asked = pieces
    if (said, following) != (said_again, following_again):
        raise ModelError("the chat template writes later turns differently, which Ollama's language cannot say")
    return Layout(first, _system(render, begin), said, following, asked, f"  {one}  " not in spaced)


def _system(render: Render, begin: str) -> tuple[str, str] | None:
    try:
        messages = [{"role": "system", "content": _SYSTEM}, {"role": "user", "content": _WORDS[0]}]
        text = render(messages, None, True).removeprefix(begin)
        before, after, _ = _between(text, [_SYSTEM, _WORDS[0]])
    except (BadRow, ModelError):
        return None
    return before, after


def _between(text: str, contents: Sequence[str]) -> list[str]:
    """What stands before, between and after the contents, each of which stands there once and in this order."""
    found, rest = [], text
    for content in contents:
        if rest.count(content) != 1:
            raise ModelError("the chat template repeats, leaves out or reorders messages, which Ollama's cannot")
        before, _, rest = rest.partition(content)
        found.append(before)
    return [*found, rest]


def _trials(system: bool) -> list[Messages]:
    """Orders of roles, with contents of several kinds."""
    contents = ("How are you?", "a\nb\n\nc", "{{ x }} {% y %}", "12 + 3 = 15", "naïve 🙂")
    found: list[Messages] = []
    for turns, leads in itertools.product((1, 3, 5), (False, True) if system else (False,)):
        roles = ["system"] * leads + ["user" if number % 2 == 0 else "assistant" for number in range(turns)]
        found.append([{"role": role, "content": text} for role, text in zip(roles, itertools.cycle(contents))])
    return found


def filled(layout: Layout, messages: Messages) -> str:
    """The text of a conversation, by the layout: what the Go template writes."""
    system = next((turn["content"] for turn in messages if turn["role"] == "system"), None)
    turns = [turn for turn in messages if turn["role"] != "system"]
    lead = layout.first
    if system is not None and layout.system is not None:
        lead = layout.system[0] + system + layout.system[1]
    text = lead
    for number, turn in enumerate(turns):
        if number:
            text += layout.said if turn["role"] == "assistant" else layout.next
        text += turn["content"]
    return text + layout.asked


def go_of(layout: Layout) -> str:
    """The Go template. Pieces that the turns share are written with each turn, so that it reads like the jinja."""
    after_question = _common_start([layout.said, layout.asked])
    before_question = _common_end([layout.first, layout.next, *((layout.system[1],) if layout.system else ())])
    close = layout.next[: len(layout.next) - len(before_question)]
    lead = literal(layout.first[: len(layout.first) - len(before_question)])
    if layout.system is not None:
        start, end = layout.system
        end = end[: len(end) - len(before_question)]
        other = f"{{{{ else }}}}{lead}" if lead else ""
        lead = f"{{{{ if .System }}}}{literal(start)}{{{{ .System }}}}{literal(end)}{other}{{{{ end }}}}"
    question = literal(before_question) + "{{ .Content }}" + literal(after_question)
    turn = f'{{{{ if eq .Role "user" }}}}{question}{{{{ else if eq .Role "assistant" }}}}'
    turn += literal(layout.said[len(after_question) :]) + "{{ .Content }}" + literal(close) + "{{ end }}"
    return f"{lead}{{{{ range .Messages }}}}{turn}{{{{ end }}}}{literal(layout.asked[len(after_question) :])}"


def go_of_text(style: str) -> str:
    """Of a run whose questions stand in a text, or are the text."""
    before, place, after = style.partition(PLACE)
    return literal(before) + "{{ .Prompt }}" + literal(after) if place else "{{ .Prompt }}"


def _common_start(texts: Sequence[str]) -> str:
    same = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*texts, strict=False))
    return "".join(letters[0] for letters in same)


def _common_end(texts: Sequence[str]) -> str:
    return _common_start([text[::-1] for text in texts])[::-1]


def literal(text: str) -> str:
    """Text as it stands in a Go template: nothing in it is an action, and nothing is dropped by who reads the file."""
    safe = text.replace("{{", '{{ "{{" }}')
    return "".join(letter if printed(letter) else f'{{{{ "\\U{ord(letter):08x}" }}}}' for letter in safe)


def printed(letter: str) -> bool:
    """Whether Ollama keeps a character of a Modelfile: it drops those without a shape, such as no-break spaces."""
    return letter in " \t\n\r" or unicodedata.category(letter)[0] in "LMNPS"


def render_go(template: str, system: str, messages: Messages, prompt: str = "") -> str:
    """The text that Go's text/template makes of what this module writes: the few actions it uses, and no others."""
    return _Go(template, {".System": system, ".Prompt": prompt}, messages).text()


class _Go:
    """Reads `{{ if }}`, `{{ else }}`, `{{ else if eq .Role "…" }}`, `{{ range .Messages }}`, fields and strings."""

    def __init__(self, template: str, fields: Mapping[str, str], messages: Messages) -> None:
        self.parts = self._split(template)
        self.fields, self.messages = dict(fields), messages

    @staticmethod
    def _split(template: str) -> list[tuple[bool, str]]:
        found, rest = [], template
        while rest:
            text, there, rest = rest.partition("{{")
            found.append((False, text))
            if there:
                action, closed, rest = rest.partition("}}")
                assert closed, "an action is not closed"
                found.append((True, action.strip()))
        return found

    def text(self) -> str:
        written, end = self._block(0, self.fields)
        assert end == len(self.parts), "an {{ end }} too many"
        return written

    def _block(self, start: int, fields: Mapping[str, str]) -> tuple[str, int]:
        """(text up to the {{ else }} or {{ end }} that closes the block, its place)."""
        written, place = "", start
        while place < len(self.parts):
            is_action, part = self.parts[place]
            if is_action and (part == "end" or part.startswith("else")):
                return written, place
            if not is_action:
                written += part
            elif part.startswith("if "):
                text, place = self._choice(place, fields)
                written += text
            elif part == "range .Messages":
                text, place = self._repeated(place + 1)
                written += text
            else:
                written += part[1:-1].encode().decode("unicode_escape") if part.startswith('"') else fields[part]
            place += 1
        return written, place

    def _choice(self, place: int, fields: Mapping[str, str]) -> tuple[str, int]:
        """(text of the branch that holds, place of the {{ end }})."""
        condition: str | None = self.parts[place][1].removeprefix("if ")
        chosen = None
        while True:
            text, place = self._block(place + 1, fields)
            if chosen is None and (condition is None or self._holds(condition, fields)):
                chosen = text
            closing = self.parts[place][1]
            if closing == "end":
                return chosen or "", place
            condition = closing.removeprefix("else").strip().removeprefix("if ").strip() or None

    def _repeated(self, start: int) -> tuple[str, int]:
        written, place = "", start
        for turn in self.messages:
            text, place = self._block(start, {**self.fields, ".Role": turn["role"], ".Content": turn["content"]})
            written += text
        return written, place

    @staticmethod
    def _holds(condition: str, fields: Mapping[str, str]) -> bool:
        if condition.startswith("eq "):
            _, field, value = condition.split(" ", 2)
            return fields[field] == value.strip('"')
        return bool(fields[condition])
