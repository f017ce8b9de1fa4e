"""A data file's first rows -> the dataset entry to propose, and why. Reads no more than it needs and nothing that takes
a library; asks the formats whether they would read the rows. Knows no tokenizer and no hub."""

import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from finetune.data.files import KINDS, Broken, DataFile, list_files, raw_rows
from finetune.errors import DataError, Fault, UsageError, Where
from finetune.formats import FORMATS, chat
from finetune.formats.meaning import BadRow, Conversation, Fields
from finetune.starting import columns
from finetune.starting.model import ADDRESS, HUB_ID

LOOKED_AT = 200
"""Rows that are looked at, from the top."""
HEAD_BYTES = 2**20
LIGHT = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".txt", ".md")
"""Kinds of files that plain Python reads row by row."""
DATA_ENDINGS = tuple(KINDS)
SPEAKER_FIELDS = (*chat.ROLE_FIELDS, "speaker", "author", "sender", "who")
TEXT_FIELDS = (*chat.CONTENT_FIELDS, "text", "message", "body", "utterance")
USERS = frozenset("user human me customer client student patient prompter question questioner asker q".split())
ASSISTANTS = frozenset("assistant gpt model bot chatbot ai agent chatgpt answer answerer support teacher a".split())


@dataclass(frozen=True)
class Data:
    """`path`: as the recipe writes it. `form`: the type to write, None where it is left to be found. `entry`: further
    keys of the dataset entry. `seen`, `todo`: what was found, and what is left to do, in sentences for a comment.
    `rows`: how many there are, None if not known; `exact`: whether they were counted. `longest`: characters of the
    longest row that was looked at."""

    path: str
    form: str | None = None
    entry: Mapping[str, Any] = field(default_factory=dict)
    seen: str = ""
    todo: str = ""
    rows: int | None = None
    exact: bool = False
    longest: int = 0
    hub: bool = False

    @property
    def count(self) -> str:
        """The number of rows for people."""
        return f"{'' if self.exact else 'about '}{self.rows:,} {'row' if self.rows == 1 else 'rows'}"


def look_at_data(path: str) -> Data:
    """What the first rows of a file tell, or that a hub id was not looked at. DataError for a file that training could
    not read either; UsageError for what is neither."""
    path = ADDRESS.sub("", path.strip()).rstrip("/") or path.strip()
    try:
        local = Path(os.path.expanduser(path))  # noqa: PTH111 - Path's raises for ~~
        if local.is_file():
            return _of_file(path, local)
        folder = bool(path) and local.is_dir()
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8 (byte {error.start}): convert it, for example with iconv") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{path[:80]!r} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if folder or any(sign in path for sign in "*?["):
        return _of_several(path)
    if path.startswith((".", "/", "~")) or path.count("/") > 1 or local.suffix.lower() in DATA_ENDINGS:
        raise DataError(f"there is no data file {path}")
    if not HUB_ID.fullmatch(path):
        raise UsageError(f"{path[:80]!r} is neither a file nor a hub id such as mlabonne/FineTome-100k")
    seen = f"A dataset of the hub, not looked at: its first row tells the type when training starts. {known_forms()}"
    return Data(path, seen=seen, hub=True)


def known_forms() -> str:
    forms = "; ".join(f"{form}: {module.COLUMNS}" for form, module in FORMATS.items())
    return f"Types there are: {forms}."


def _of_file(path: str, local: Path) -> Data:
    ending = local.suffix.lower()
    if ending not in KINDS:
        raise DataError(f"{path}: files of type `{ending}` are not read; use {', '.join(KINDS)}")
    if ending not in LIGHT:
        return Data(path, seen=f"Not looked at: its columns tell the type when training starts. {known_forms()}")
    rows = list(itertools.islice(_first_rows(local, ending), LOOKED_AT))
    if not rows:
        raise DataError(f"{path} holds no rows")
    if not all(isinstance(row, Mapping) for row in rows):
        raise DataError(f"{path}: a row must be an object of columns, and not every one is")
    total, exact = _total(rows, local.stat().st_size)
    found = _recognised(path, rows)
    return Data(path, found.form, found.entry, found.seen, found.todo, total, exact, found.longest)


def _of_several(path: str) -> Data:
    """A folder or a pattern: told by its first file, as training reads them."""
    try:
        files = list_files(path) or []
    except DataError as error:
        if Path(os.path.expanduser(path)).is_dir():  # noqa: PTH111 - Path's raises for ~~
            raise DataError(f"{path} is a folder; name the file in it ({', '.join(KINDS)})") from error
        raise
    first = Path(files[0].path)
    found = _of_file(path, first)
    if found.rows is None or len(files) == 1:
        return found
    size = sum(Path(file.path).stat().st_size for file in files)
    rows = max(found.rows, round(found.rows * size / max(1, first.stat().st_size)))
    seen = f"{len(files)} files; looked at {first.name}. {found.seen}"
    return replace(found, seen=seen, rows=rows, exact=False)


def _first_rows(path: Path, ending: str) -> Iterator[Any]:
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if ending == ".json" and len(head) == HEAD_BYTES and head.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"["):
        # One array of many rows: parsing all of it would take long, and its top is enough.
        return _rows_of_array(head.decode("utf-8-sig", "ignore"))
    return _good_rows(DataFile(str(path), KINDS[ending], None, "document" if ending == ".md" else "line"))


def _good_rows(file: DataFile) -> Iterator[Any]:
    """DataError at the first row that cannot be read."""
    for number, row in raw_rows(file):
        if isinstance(row, Broken):
            line = number if row.column else 0
            raise DataError(Fault(row.why if line else f"row {number}: {row.why}", Where(file.name, line, row.column)))
        yield row


def _rows_of_array(text: str) -> Iterator[Any]:
    """The rows of a JSON array as far as the text goes; the last may be cut off."""
    decoder = json.JSONDecoder()
    place = text.index("[") + 1
    while True:
        while place < len(text) and text[place] in " \t\r\n,":
            place += 1
        try:
            row, place = decoder.raw_decode(text, place)
        except (ValueError, RecursionError):
            return
        yield row


def _total(rows: Sequence[Any], size: int) -> tuple[int, bool]:
    """(rows of the whole file, whether they were counted): guessed from its size where only its top was read."""
    if len(rows) < LOOKED_AT and size < HEAD_BYTES:
        return len(rows), True
    average = sum(len(json.dumps(row, ensure_ascii=False).encode("utf-8", "replace")) for row in rows) / len(rows)
    guess = max(len(rows), int(size / (average + 1)))
    digits = len(str(guess)) - 2
    return round(guess, -digits) if digits > 0 else guess, False


def _recognised(path: str, rows: Sequence[Mapping[str, Any]]) -> Data:
    column = _messages_column(rows[0])
    if column is None and chat.matches(rows[0]):
        seen = "It holds lists of messages as JSON text: `type: chat_template`."
        return _tried(Data(path, "chat_template", seen=seen), rows, Fields())
    if column is not None:
        return _chat(path, rows, column)
    glued = _glued(rows[0])
    for form, module in FORMATS.items():
        if form != "chat_template" and module.matches(rows[0]) and not (form == "prompt_completion" and glued):
            seen = f"Its rows have {module.COLUMNS}: `type: {form}`."
            return _tried(Data(path, form, seen=seen), rows, Fields())
    return _by_names(path, rows)


def _glued(row: Mapping[str, Any]) -> bool:
    """Whether a prompt and its completion, put together as they are, would run into each other."""
    prompt, said = row.get("prompt"), row.get("completion", row.get("response"))
    return isinstance(prompt, str) and isinstance(said, str) and not (prompt[-1:].isspace() or said[:1].isspace())


def _by_names(path: str, rows: Sequence[Mapping[str, Any]]) -> Data:
    """Columns that no form has: a question and an answer, or plain text, by what they are called."""
    row = rows[0]
    names = ", ".join(f"`{name}`" for name in row) or "no columns"
    if columns.look_like_rows(list(row)):
        seen = f"Not recognised: its first line, which should name the columns, is {names}."
        todo = "The first line reads like a row, not like names of columns: write a line above it, question,answer"
        return Data(path, seen=f"{seen} {known_forms()}", todo=f"{todo}.")
    pair, text = columns.asks_and_answers(row), columns.only_text(row)
    if pair is not None:
        return _pair(path, rows, *pair)
    if text is not None:
        seen = f"`{text}` holds plain text, all of which is learned: `type: completion`."
        return _tried(Data(path, "completion", {"field": text}, seen), rows, Fields(text=text))
    seen = f"Not recognised: its rows have {names}. {known_forms()}"
    todo = (
        "Training refuses the rows as they are. If one column asks and another answers, name them: "
        "`type: question_answer`, `field_prompt: ...`, `field_completion: ...`. Else give them the columns of a type."
    )
    return Data(path, seen=seen, todo=todo)


def _pair(path: str, rows: Sequence[Mapping[str, Any]], asks: str, answers: str, named: bool) -> Data:
    """A question and an answer under the model's own chat template."""
    entry = {"field_prompt": asks, "field_completion": answers}
    context = columns.other_name_of_context(rows[0])
    read = {asks, answers, "system", *(name for name in ("context", "passage") if name in rows[0])}
    besides = ", ".join(f"`{name}`" for name in rows[0] if name not in read)
    seen = f"`{asks}` asks and `{answers}` answers: `type: question_answer`."
    seen += f" Not read: {besides}." if besides else ""
    seen += (
        "" if named else " Their names do not say so: it is the order of the columns. Swap the names if it is wrong."
    )
    seen += f" Rename `{context}` to context, and it stands before the question." if context else ""
    return _tried(
        Data(path, "question_answer", entry, seen), rows, Fields(columns={"prompt": asks, "completion": answers})
    )


def _messages_column(row: Mapping[str, Any]) -> str | None:
    """The column that holds a list of messages: one of the usual names, else the first that looks like it."""
    usual = [name for name in chat.MESSAGE_COLUMNS if isinstance(row.get(name), list)]
    lists = [name for name, value in row.items() if isinstance(value, list) and value and _is_turn(value[0])]
    return next(iter([*usual, *lists]), None)


def _is_turn(value: Any) -> bool:
    return isinstance(value, Mapping) and bool(_field(value, SPEAKER_FIELDS) and _field(value, TEXT_FIELDS))


def _field(turn: Mapping[str, Any], names: Sequence[str]) -> str | None:
    return next((name for name in names if isinstance(turn.get(name), str)), None)


def _chat(path: str, rows: Sequence[Mapping[str, Any]], column: str) -> Data:
    """Columns and roles are written out even where they would be found, so that one sees what is read."""
    entry: dict[str, Any] = {"field_messages": column}
    found = [row[column] for row in rows if isinstance(row.get(column), list)]
    turns = [turn for turns in found for turn in turns if isinstance(turn, Mapping)]
    first = next((turn for turn in turns if _is_turn(turn)), {})
    speaker, text = _field(first, SPEAKER_FIELDS), _field(first, TEXT_FIELDS)
    if speaker is None or text is None:
        names = ", ".join(f"`{name}`" for name in (turns[0] if turns else ())) or "nothing"
        todo = f"A message holds {names}: name the fields of its speaker and its text in message_property_mappings."
        return Data(path, "chat_template", entry, f"`{column}` holds lists of messages.", todo)
    if (speaker, text) != ("role", "content"):
        entry["message_property_mappings"] = {"role": speaker, "content": text}
    spoken = {str(turn.get(speaker)) for turn in turns}
    roles = {
        ours: sorted(name for name in spoken - chat.ROLES.keys() if name.lower() in words)
        for ours, words in (("user", USERS), ("assistant", ASSISTANTS), ("system", frozenset({"system"})))
    }
    roles = {ours: names for ours, names in roles.items() if names}
    if roles:
        entry["roles"] = roles
    seen = f"`{column}` holds lists of messages, each with `{speaker}` and `{text}`: `type: chat_template`."
    return _tried(
        Data(path, "chat_template", entry, seen), rows, Fields(messages=column, role=speaker, content=text, roles=roles)
    )


def _tried(data: Data, rows: Sequence[Mapping[str, Any]], fields: Fields) -> Data:
    """The proposal after its format has read the rows: how long they are, and the first that it would refuse."""
    module = FORMATS[str(data.form)]
    longest, todo, bad = 0, "", 0
    for number, row in enumerate(rows, 1):
        try:
            meaning = module.read(row, fields)
        except BadRow as reason:
            bad += 1
            todo = todo or f"Row {number} would be refused: {reason}."
            continue
        said = meaning.messages if isinstance(meaning, Conversation) else ()
        pieces = [message.content for message in said] or [text for text, _ in getattr(meaning, "pieces", ())]
        longest = max(longest, sum(map(len, pieces)))
    more = f" {bad - 1} more of the first {len(rows)} would be too." if bad > 1 else ""
    return Data(data.path, data.form, data.entry, data.seen, todo + more, longest=longest)
