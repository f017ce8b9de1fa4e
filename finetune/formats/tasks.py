"""Rows of a known task without a wording that models were trained on: questions, summaries, translations. They become
a question and an answer under the chat template. Knows columns; knows no template."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from finetune.formats.meaning import BadRow, Conversation, Fields, Message, names_of, optional_text, text_in

CONTEXTS = ("context", "passage")
DOCUMENTS = ("document", "article", "dialogue", "text")
SUMMARIES = ("summary", "highlights")
LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "en": "English", "es": "Spanish", "fi": "Finnish",
    "fr": "French", "hi": "Hindi", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ru": "Russian", "sv": "Swedish", "tr": "Turkish", "uk": "Ukrainian",
    "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip


@dataclass(frozen=True)
class Task:
    """`pair`: the row's question and answer, by the columns that the recipe names; None where its columns are of
    something else."""

    pair: Callable[[Mapping[str, Any], Mapping[str, str]], tuple[str, str] | None]
    COLUMNS: str
    matches: Callable[[Mapping[str, Any]], bool]

    def read(self, row: Mapping[str, Any], fields: Fields) -> Conversation:
        """BadRow for a missing column or one that is not text."""
        pair = self.pair(row, fields.columns)
        if pair is None:
            raise BadRow(f"it needs {self.COLUMNS}; the row has {names_of(row)}")
        system = optional_text(row, fields.system or "system")
        opening = (Message("system", system),) if system else ()
        return Conversation((*opening, Message("user", pair[0]), Message("assistant", pair[1])))


def _first(row: Mapping[str, Any], names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in row), None)


def _question(row: Mapping[str, Any], named: Mapping[str, str]) -> tuple[str, str] | None:
    asks, answers = named.get("prompt", "question"), named.get("completion", "answer")
    if not named and (asks not in row or answers not in row):
        return None
    context = optional_text(row, _first(row, CONTEXTS))
    question = text_in(row, asks)
    return (f"{context}\n\n{question}" if context else question), text_in(row, answers)


def _asks(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("answer"), str) and "question" in row


def _summary(row: Mapping[str, Any], named: Mapping[str, str]) -> tuple[str, str] | None:
    del named  # only a question and its answer have names of their own
    document, summary = _first(row, DOCUMENTS), _first(row, SUMMARIES)
    if document is None or summary is None:
        return None
    return f"Summarize the following text.\n\n{text_in(row, document)}", text_in(row, summary)


def _summarizes(row: Mapping[str, Any]) -> bool:
    return _first(row, DOCUMENTS) is not None and _first(row, SUMMARIES) is not None


def _translation(row: Mapping[str, Any], named: Mapping[str, str]) -> tuple[str, str] | None:
    """Out of the first language into the second, in the row's order."""
    del named
    pair = row.get("translation")
    if not isinstance(pair, Mapping) or len(pair) != 2:
        return None
    source, target = pair
    names = [LANGUAGES.get(code, code) for code in (source, target)]
    return f"Translate from {names[0]} to {names[1]}.\n\n{text_in(pair, source)}", text_in(pair, target)


def _translates(row: Mapping[str, Any]) -> bool:
    return isinstance(row.get("translation"), Mapping)


FORMS = {
    "question_answer": Task(_question, "`question`, `answer` and, if there is one, `context`", _asks),
    "summarization": Task(_summary, "`document`, `article`, `dialogue` or `text`, and `summary`", _summarizes),
    "translation": Task(_translation, "`translation`: a text in each of two languages", _translates),
}
