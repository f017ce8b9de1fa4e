"""What is asked of a run and of what was made of it: the run's own questions, and texts on which tokenizers and
templates come apart. Knows no model."""

from typing import Any

from finetune.errors import RunFolderError
from finetune.exporting.finished import Finished
from finetune.formats.meaning import BadRow, Message
from finetune.generation import Prompt, prompt_for, prompt_ids

COUNT = 8
"""Prompts of a proof, unless another number is asked for."""
QUESTIONS = 4
"""Of them, those of the run itself at most."""
TEXTS = (
    "Add 1234567 and 89.01, please!",
    "naïve café – 東京 🙂 Привет",
    "def f(x):\n\treturn  x**2\n\n\nWhat's that?",
    "  What is it, and why?  ",
    "I'M, you'LL, don't; (a)[b]{c} <d> \"e\" 100%",
)
"""Digits, scripts, spaces, line ends and contractions: what tokenizers split differently."""


def probes(run: Finished, tokenizer: Any, count: int) -> list[Prompt]:
    """`count` prompts at most, as training would put them; those that the template refuses are left out.

    RunFolderError if not one is left."""
    found: list[Prompt] = []
    for prompt in _candidates(run):
        try:
            prompt_ids(prompt, tokenizer)
        except BadRow:
            continue
        found.append(prompt)
        if len(found) == count:
            break
    if not found:
        raise RunFolderError(f"{run.folder.path}: the saved chat template refuses every question")
    return found


def _candidates(run: Finished) -> list[Prompt]:
    asked = [str(pair["question"]) for pair in _answers(run)]
    own = [prompt_for(question, run.style) for question in dict.fromkeys(asked) if question.strip()][:QUESTIONS]
    texts = [prompt_for(text, run.style) for text in TEXTS]
    if run.style != "chat_template":
        return own + texts
    first, second = (Message("user", text) for text in TEXTS[:2])
    said = Message("assistant", "Well: 42.\nOr so.")
    several = [
        Prompt(second.content, (first, said, second)),
        Prompt(first.content, (Message("system", "You answer in one line."), first)),
    ]
    return own + texts[:2] + several + texts[2:]


def _answers(run: Finished) -> list[dict[str, Any]]:
    """The sample answers; none where the run was stopped before them."""
    if not (run.folder.path / "answers.json").is_file():
        return []
    answers = run.folder.read("answers.json")
    return answers if isinstance(answers, list) else []


def training_answers(run: Finished) -> dict[str, str]:
    """Question -> what the model answered at the end of its training, where it took the most likely token each time."""
    sampling = run.plan.one("generate", "GenerationConfig")
    if sampling is None or sampling.arguments.get("do_sample"):
        return {}
    return {str(pair["question"]): str(pair["after"]["text"]) for pair in _answers(run)}
