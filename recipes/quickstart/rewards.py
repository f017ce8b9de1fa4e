"""What rewards an answer in recipes/quickstart_grpo.yaml and recipes/quickstart_rloo.yaml.

A reward function is given the answers (`completions`), the questions (`prompts`) and every other column of the rows by
its name, all as lists; it returns one number for each answer, or None where it has nothing to say."""

from typing import Any


def text_of(completion: Any) -> str:
    """The text of an answer: a list of messages where the question was one, else the text itself."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def words_of(text: str) -> set[str]:
    return {word.strip('.,!?"').lower() for word in text.split()}


def like_the_answer(completions: list[Any], answer: list[str], **columns: Any) -> list[float]:
    """From 0 to 1: how many words an answer shares with that of the row, which the model itself never reads."""
    rewards = []
    for completion, wanted in zip(completions, answer, strict=True):
        said, known = words_of(text_of(completion)), words_of(wanted)
        rewards.append(2 * len(said & known) / (len(said) + len(known)))
    return rewards


def asks_nothing(completions: list[Any], **columns: Any) -> list[float]:
    """1 for an answer without a question."""
    return [float("?" not in text_of(completion)) for completion in completions]
