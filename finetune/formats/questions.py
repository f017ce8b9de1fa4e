"""Questions with answers, about a context, choices or an article, in the wordings that Axolotl has for them. Knows
columns and wording; knows no tokenizer."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from finetune.formats.alpaca import CONCISE, STYLES
from finetune.formats.instruct import Columns, Instruct, Parts, Wording
from finetune.formats.meaning import BadRow, optional_text, text_in

_NOT_IN_CONTEXT = (
    "The context provided does not contain any information about your inquiry. "
    "Therefore, I'm unable to answer your question based on the given context."
)
_ARTICLE = "Use the following contextual information to concisely answer the question.\n"
_CONTEXT_QA = replace(STYLES["chat"], system=_ARTICLE, bare_system=_ARTICLE)
_EXPLAIN = "Choose the answer that best answers the question. Explain your reasoning.\n"
_CONCISELY = "Choose the answer that best answers the question. Be concise in your response.\n\n"


@dataclass(frozen=True)
class _Article:
    """An article with a question about it; a question that it cannot answer gets a fixed answer."""

    question: str
    answer: str | None

    def __call__(self, row: Mapping[str, Any]) -> Parts:
        text = text_in(row, "article") + "\n===\n" + text_in(row, self.question)
        return Parts(text, text_in(row, self.answer) if self.answer else _NOT_IN_CONTEXT)


def _context(row: Mapping[str, Any]) -> Parts:
    text = f"Context: {text_in(row, 'context')}\nQuestion: {text_in(row, 'question')}\n"
    return Parts(text, f"Answer: {text_in(row, 'answer')}")


def _jeopardy(row: Mapping[str, Any]) -> Parts:
    return Parts(text_in(row, "question"), f"what is {text_in(row, 'answer')}", optional_text(row, "category"))


def _choices(row: Mapping[str, Any]) -> Parts:
    choices = row.get("choices")
    if not isinstance(choices, list) or not all(isinstance(choice, str) for choice in choices):
        raise BadRow("column `choices` should be a list of texts")
    answer = text_in(row, "solution" if "solution" in row else "explanation")
    return Parts(text_in(row, "question"), answer, "\n".join(f'- "{choice}"' for choice in choices))


_TLDR = "USER: Summarize the following article as a TL;DR.\n{instruction}\n"
_QA = "`question` and `answer`"
_JEOPARDY = "`question`, `answer` and `category`"
_CHOICES = "`question`, `choices` and `solution` or `explanation`"
FORMS = {
    "explainchoice": Instruct(
        _choices, replace(STYLES["instruct"], system=_EXPLAIN, bare_system=_EXPLAIN), _CHOICES, ("question", "choices")
    ),
    **{
        f"explainchoice:{style}": Instruct(
            _choices, replace(STYLES[style], system=_EXPLAIN, bare_system=_EXPLAIN), _CHOICES
        )
        for style in ("chat", "chatml", "phi")
    },
    "concisechoice": Instruct(
        _choices, replace(STYLES["chat"], around="{system}", system=_CONCISELY, bare_system=_CONCISELY), _CHOICES
    ),
    "jeopardy": Instruct(_jeopardy, STYLES["instruct"], _JEOPARDY),
    **{f"jeopardy:{style}": Instruct(_jeopardy, STYLES[style], _JEOPARDY) for style in ("chat", "chatml", "phi")},
    "alpaca_chat.load_qa": Instruct(Columns("question", "answer"), CONCISE, _QA),
    "alpaca_chat.load_camel_ai": Instruct(
        Columns("message_1", "message_2"), CONCISE, "`message_1` and `message_2`", ("message_1", "message_2")
    ),
    "context_qa": Instruct(_Article("question", "answer"), _CONTEXT_QA, "`article`, `question` and `answer`"),
    "context_qa.load_404": Instruct(
        _Article("unanswerable_question", None), _CONTEXT_QA, "`article` and `unanswerable_question`"
    ),
    "context_qa.load_v2": Instruct(
        _context,
        Wording("{instruction}\n{input}", "{instruction}"),
        "`context`, `question` and `answer`",
    ),
    "summarizetldr": Instruct(
        Columns("article", "summary"),
        Wording(f"{_TLDR}{{input}}\nASSISTANT:", f"{_TLDR}ASSISTANT:"),
        "`article` and `summary`",
    ),
    "orcamini": Instruct(
        Columns("question", "response", None, "system_prompt"),
        Wording("", "### System:\n{system}\n\n### User:\n{instruction}\n\n### Response:\n", around=""),
        "`system_prompt`, `question` and `response`",
    ),
}
