"""A trained run, rows and tasks -> an evaluation in the run's folder: figures of what was trained beside its base, with
what they may well be, every answer, and the run's page anew. Owns the order; chooses no metric."""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from finetune import __version__
from finetune.answering.settings import Settings
from finetune.answering.writers import SLOTS
from finetune.answering.writing import Writing
from finetune.errors import DataError, MachineError
from finetune.evaluation.chance import Between
from finetune.evaluation.figures import Said, Side, Wanted, answers, figures
from finetune.evaluation.harness import Tasks, task_figures
from finetune.evaluation.likelihood import likelihoods
from finetune.evaluation.questions import Question, questions
from finetune.evaluation.scores import label_of
from finetune.measured_rows import Pair, refuse_empty, rows_of
from finetune.outcome import now
from finetune.recipe.measures import CLASSIFYING, MEASURES, generated
from finetune.report.evaluated import FOLDER
from finetune.report.writing import write_page
from finetune.rundir import RunDir
from finetune.screen import Screen
from finetune.trained import Trained

WORST = 50
NAMES = {"base": "base model", "tuned": "trained model"}


@dataclass(frozen=True)
class Wish:
    """What is to be measured. `metrics`: None for the usual ones; `base`: the base model too; `rows`: the first so
    many."""

    data: str | None = None
    form: str | None = None
    metrics: tuple[str, ...] | None = None
    labels: tuple[str, ...] = ()
    tasks: Tasks | None = None
    rows: int | None = None
    max_new_tokens: int = 128
    base: bool = True
    name: str = "evaluation"


def metrics_of(wish: Wish) -> tuple[str, ...]:
    """Those that are asked for, or the usual ones. MachineError if one needs a package that is missing."""
    from importlib.util import find_spec

    usual = ("perplexity", "exact_match", "token_f1", *(sorted(CLASSIFYING) if wish.labels else ()))
    chosen = wish.metrics if wish.metrics is not None else usual
    modules = {"rouge-score": "rouge_score", "sacrebleu": "sacrebleu", "scikit-learn": "sklearn"}
    for name in chosen:
        package = MEASURES[name].package
        if package and find_spec(modules[package]) is None:
            raise MachineError(f"--metrics {name}: pip install 'finetune-recipes[eval]' ({package} is missing)")
    return chosen


def evaluate(trained: Trained, wish: Wish, screen: Screen) -> dict[str, Any]:
    """The evaluation, as it was written to the run's folder."""
    found: dict[str, Any] = {"finetune": __version__, "made": now(), "name": wish.name}
    values: dict[str, dict[str, Between]] = {}
    sides = ("base", "tuned") if wish.base and trained.has_base else ("tuned",)
    folder = RunDir(trained.run.path / FOLDER)
    if wish.tasks is None or wish.data is not None or wish.metrics is not None:
        made, rows = _of_rows(trained, wish, sides, screen)
        values |= made
        found |= {key: rows[key] for key in ("data", "rows", "questions", "not_asked", "settings") if key in rows}
        found["worst"] = rows["answers"][:WORST]
    if wish.tasks is not None:
        values |= _of_tasks(trained, wish.tasks, sides, screen)
        found |= {"tasks": asdict(replace(wish.tasks, folder=None)) | {"folder": str(wish.tasks.folder or "")}}
    found["figures"] = {name: {side: one.as_json() for side, one in both.items()} for name, both in values.items()}
    folder.path.mkdir(exist_ok=True)
    folder.write(f"{wish.name}.json", found)
    if "worst" in found:
        folder.write_lines(f"{wish.name}.answers.jsonl", rows["answers"])
    write_page(trained.run.path)
    return found


def _of_rows(
    trained: Trained, wish: Wish, sides: Sequence[str], screen: Screen
) -> tuple[dict[str, dict[str, Between]], dict[str, Any]]:
    metrics = metrics_of(wish)
    with screen.stage("reading the rows"):
        name, rows, _ = rows_of(trained.plan, wish.data, wish.form, wish.rows)
    refuse_empty(rows, name)
    asked, left = _fitting(trained, _asked(rows) if generated(metrics) else [], wish.max_new_tokens)
    if generated(metrics) and not asked:
        raise DataError(
            f"{name}: no row has a question with an answer and room for it; --metrics perplexity needs none"
        )
    tokenizer = trained.loaded.tokenizer
    texts = [_text(tokenizer, one.expected) for one in asked]
    given = [_text(tokenizer, one.given) for one in asked]
    _refuse_other_labels(name, texts, wish.labels)
    settings = Settings(wish.max_new_tokens, stop=trained.settings.stop)
    made = {}
    for side in sides:
        with screen.stage(f"measuring the {NAMES[side]}"), trained.as_base() if side == "base" else nullcontext():
            made[side] = _side(trained, rows, asked, settings)
    wanted = Wanted(metrics, texts, wish.labels, given)
    with screen.stage("drawing rows anew, for what the figures may well be"):
        values = figures(made, wanted)
    said = answers(made, wanted) if asked else []
    facts: dict[str, Any] = {"data": name, "rows": len(rows), "questions": len(asked), "not_asked": left}
    return values, facts | {"settings": asdict(settings), "answers": said}


def _refuse_other_labels(name: str, texts: Sequence[str], labels: Sequence[str]) -> None:
    """DataError if an answer of the data is none of the labels: no model could be right there."""
    known = {label_of(label) for label in labels}
    other = [text for text in texts if known and label_of(text) not in known]
    if other:
        raise DataError(
            f"{name}: {len(other)} of {len(texts)} answers are none of --labels, {other[0][:80]!r} for one: name it too"
        )


def _asked(rows: Sequence[Pair]) -> list[Question]:
    return questions(({"input_ids": ids, "labels": labels} for ids, labels in rows), 0.5, None)


def _fitting(trained: Trained, asked: list[Question], tokens: int) -> tuple[list[Question], int]:
    """Questions that leave room for an answer, and how many do not."""
    room = trained.room
    kept = [one for one in asked if room is None or len(one.given) + tokens <= room]
    return kept, len(asked) - len(kept)


def _side(trained: Trained, rows: Sequence[Pair], asked: Sequence[Question], settings: Settings) -> Side:
    likely = likelihoods(rows, trained.loaded.model)
    writings = [Writing(one.given, settings) for one in asked]
    trained.writers(SLOTS).write(writings)
    broken = next((one for one in writings if one.ended == "failed"), None)
    if broken is not None:
        raise MachineError(f"an answer could not be written: {broken.why}")
    return Side(likely, [Said(one.text, one.stopped) for one in writings])


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _of_tasks(trained: Trained, tasks: Tasks, sides: Sequence[str], screen: Screen) -> dict[str, dict[str, Between]]:
    values: dict[str, dict[str, Between]] = {}
    for side in sides:
        with screen.stage(f"tasks: the {NAMES[side]}"), trained.as_base() if side == "base" else nullcontext():
            for name, one in task_figures(tasks, trained.loaded.model, trained.loaded.tokenizer).items():
                values.setdefault(name, {})[side] = one
    for both in values.values():
        if len(both) == 2:
            both["difference"] = Between(both["tuned"].value - both["base"].value)
    return values


def place_of(trained: Trained, wish: Wish) -> Path:
    return trained.run.path / FOLDER / f"{wish.name}.json"
