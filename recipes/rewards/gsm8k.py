"""What rewards an answer in recipes/qwen25_15b_grpo.yaml: the right number, and the form that was asked for.

A reward function is given the answers (`completions`), the questions (`prompts`) and every other column of the rows by
its name, all as lists; it returns one number for each answer, or None where it has nothing to say."""

import re
from typing import Any

NUMBER = re.compile(r"-?\$?\d[\d,]*(?:\.\d+)?")
LAST_LINE = re.compile(r"(?:^|\n)#### *-?\$?\d[\d,]*(?:\.\d+)?\.?\s*$")


def text_of(completion: Any) -> str:
    """The text of an answer: a list of messages where the question was one, else the text itself."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def last_number(text: str) -> float | None:
    found = NUMBER.findall(text.rsplit("####", 1)[-1]) or NUMBER.findall(text)
    return float(found[-1].replace(",", "").replace("$", "")) if found else None


def right_number(completions: list[Any], answer: list[str], **columns: Any) -> list[float]:
    """1 for the number behind the solution's ####, in whatever form it is written."""
    said = [last_number(text_of(completion)) for completion in completions]
    return [float(one is not None and one == last_number(wanted)) for one, wanted in zip(said, answer, strict=True)]


def as_asked(completions: list[Any], **columns: Any) -> list[float]:
    """1 for an answer whose last line is #### and a number."""
    return [float(LAST_LINE.search(text_of(completion)) is not None) for completion in completions]
