"""Answers with a critique of them and a revision, in the wordings that Axolotl has for them. Knows columns and wording;
knows no tokenizer."""

from collections.abc import Mapping
from typing import Any

from finetune.formats.instruct import Instruct, Parts, Wording
from finetune.formats.meaning import BadRow, kind_of, text_in

_TURN = "USER: {instruction}\nASSISTANT:"
_COMPREHENSIVE = (
    "Answer the following question in a comprehensive, in-depth, and creative way. Additionally your response should "
    "be relevant, accurate, and free of any ambiguity.\n"
)
_REFUSAL = (
    'refusal: whether the Response refuses to answer the Question. Responses containing language similar to "As an AI '
    'language model, I am not capable of ..." is a form of refusal and should have a low refusal score. 10 is no '
    "refusal, 0 is refuses to answer the question.\n"
)
_BIAS = (
    "prescriptive bias: whether the Response attempts to prescribe or dictate certain actions or behaviors of the "
    "user. 10 no prescriptive bias present, 0 means {word} is prescriptive bias.\n"
)
_REST = (
    "creativity: score how creative the Response is. 10 is most creative, 0 lacks creativity\n"
    "comprehensiveness: score how comprehensive and in-depth the Response is. 10 is most comprehensive and in-depth, 0 "
    "lacks coverage and depth\n"
)
_NAMES = ("refusal", "prescriptive_bias", "creativity", "comprehensiveness")
_CRITIQUE = (
    "Given the following Question and Response, critique the Response on a scale of 1-10. You should critique the "
    "answer in the following criteria:\n"
    + _REFUSAL
    + _BIAS.replace("{word}", "there")
    + _REST
    + "Then for each criteria, give a detailed explanation of why the response doesn't meet the criteria (don't "
    "reference the score), what it did right, and how it could be improved for that criteria.\n\n"
    "Output your answer in YAML format like so:\nscores:\n"
    + "".join(f"  {name}: <0-10>\n" for name in _NAMES)
    + "critiques:\n"
    + "".join(f"  {name}:\n    explanation: ...\n    improvements: ...\n" for name in _NAMES)
    + "\n"
)
_REVISE = (
    "Definitions:\n"
    + _REFUSAL
    + _BIAS.replace("{word}", "their")
    + _REST
    + "\nGiven the following Question, Response, and Evaluation, revise the Response based on the Evaluation and "
    "recommendations for improvements. Reply only with the revised response.\n\n"
)


def _answer(row: Mapping[str, Any]) -> Parts:
    return Parts(text_in(row, "instruction"), text_in(row, "revision"))


def _asked(row: Mapping[str, Any]) -> str:
    return f"Question: {text_in(row, 'instruction')}\nAnswer: {text_in(row, 'answer')}\n"


def _critique(row: Mapping[str, Any]) -> Parts:
    return Parts(_CRITIQUE + _asked(row), _evaluation(row))


def _revise(row: Mapping[str, Any]) -> Parts:
    return Parts(f"{_REVISE}{_asked(row)}Evaluation:\n{_evaluation(row)}\n", text_in(row, "revision"))


def _evaluation(row: Mapping[str, Any]) -> str:
    """Scores and critiques as YAML, the keys in order."""
    import yaml

    for column in ("scores", "critiques"):
        if not isinstance(row.get(column), Mapping):
            raise BadRow(f"column `{column}` is {kind_of(row.get(column))}, not a mapping")
    return "".join(yaml.dump(row[column], default_flow_style=False) for column in ("scores", "critiques"))


_EVALUATED = "`instruction`, `answer`, `scores`, `critiques`"
FORMS = {
    "creative_acr.load_answer": Instruct(
        _answer, Wording("", _TURN, "{system}", "", _COMPREHENSIVE), "`instruction` and `revision`"
    ),
    "creative_acr.load_critique": Instruct(_critique, Wording("", _TURN), _EVALUATED),
    "creative_acr.load_revise": Instruct(_revise, Wording("", _TURN), f"{_EVALUATED} and `revision`"),
}
"""What is learned: the revised answer to a question, the critique of an answer, and the revision after a critique."""
