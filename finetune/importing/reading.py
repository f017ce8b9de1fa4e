"""A file of another tool -> a draft: what kind of file it is, by its name. Runs nothing, asks nobody."""

import re
from pathlib import Path

from finetune.errors import UsageError
from finetune.importing.configuration import read_configuration
from finetune.importing.documents import read_document
from finetune.importing.draft import TO_DO, Draft, Line
from finetune.importing.spelled import own_up

MOST_BYTES = 20_000_000


def read_foreign(path: Path, method: str | None = None) -> Draft:
    """The draft of a file. UsageError or RecipeError where it is no file that is known."""
    text = _text(path)
    ending = path.suffix.lower()
    if ending in (".yaml", ".yml") or (ending == ".json" and '"cells"' not in text[:20_000]):
        draft = read_configuration(str(path), text, method, path.parent)
    else:
        draft = read_document(path, text, method)
    complete(draft, path.stem)
    return draft


def _text(path: Path) -> str:
    try:
        raw = path.read_bytes()
    except IsADirectoryError:
        raise UsageError(f"{path} is a folder; name the file in it that is to be imported") from None
    except (OSError, ValueError) as error:
        raise UsageError(f"{str(path)[:200]} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if len(raw) > MOST_BYTES:
        raise UsageError(f"{path} holds {len(raw):,} bytes; at most {MOST_BYTES:,} are read")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path}: byte {error.start} is not UTF-8, so this is no text that can be imported") from None
    if "\x00" in text:
        raise UsageError(f"{path} is a binary file; name a script, a notebook or a configuration")
    return text


def complete(draft: Draft, stem: str) -> None:
    """What every recipe needs and the file did not say."""
    if "base_model" not in draft.lines:
        draft.lines["base_model"] = Line("your/model", "TO DO: the file names no model that could be read")
        draft.say(TO_DO, 0, "base_model", "the file names no model that could be read", "write its hub id or folder")
    if not draft.datasets:
        draft.datasets.append({"path": Line("your_data.jsonl", "TO DO: the file names no data that could be read")})
        draft.say(TO_DO, 0, "datasets", "the file names no data that could be read", "write their hub id or file")
    name = re.sub(r"[^\w.-]+", "_", stem) or "imported"
    draft.assume("output_dir", f"outputs/{name}", "not written")
    own_up(draft)
