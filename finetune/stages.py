"""What each stage of a run does with its planned calls. Makes no choice: every argument comes from the Plan."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from finetune.backends.loaded import Loaded
from finetune.data.bad_rows import BadOne
from finetune.data.sources import Taken
from finetune.errors import TrainingError
from finetune.formats.meaning import Row
from finetune.generation import Answer, Prompt, answer, style_of
from finetune.plan import Call, Plan, perform
from finetune.rendering.examples import Counted, Example, Tokenized
from finetune.rendering.lengths import IGNORED
from finetune.rundir import RunDir
from finetune.screen import Screen
from finetune.stopping import StopRequest


@dataclass(frozen=True)
class Formatted:
    """Datasets for the trainer, what was counted while they were made, and the questions to answer."""

    train: Any
    validation: Any | None
    counted: dict[str, Counted]
    stop_ids: tuple[int, ...]
    prompts: list[Prompt]
    style: str
    skipped: list[BadOne]


@dataclass(frozen=True)
class Trained:
    """`seconds` and `tokens` of the training loop alone; `history` is the trainer's log."""

    model: Any
    seconds: float
    tokens: int
    steps: int
    history: list[dict[str, Any]]


@dataclass(frozen=True)
class Read:
    """The rows of a run, the bad ones that were left out, and what a person should hear about the sources."""

    training: list[Row]
    validation: list[Row]
    skipped: list[BadOne]
    notes: list[str]


def read_data(plan: Plan) -> Read:
    """All rows, before any model is loaded: a bad row must not cost a download."""
    rows: dict[str, list[Row]] = {"train": [], "validation": []}
    skipped: list[BadOne] = []
    notes: list[str] = []
    for call in plan.stage("format"):
        if call.target.endswith(".read_rows"):
            taken: Taken = perform(call)
            rows[call.arguments["purpose"]] += taken.rows
            skipped += taken.skipped
            notes += [*taken.notes, *taken.said(call.arguments["path"])]
    training, validation = rows["train"], rows["validation"]
    deduplicate, split = plan.one("format", "drop_duplicates"), plan.one("format", "split_rows")
    assert split is not None
    if deduplicate is not None:
        count = len(training) + len(validation)
        training, validation = perform(deduplicate, training=training, validation=validation)
        notes.append(
            f"{count - len(training) - len(validation)} of {count} rows say what another says and were dropped"
        )
    training, held_out = perform(split, rows=training)
    return Read(training, validation or held_out, skipped, notes)


def format_rows(plan: Plan, training: list[Row], validation: list[Row], tokenizer: Any) -> Formatted:
    template, tokenize = plan.one("format", "set_template"), plan.one("format", "tokenize_rows")
    pack = {call.arguments["purpose"]: call for call in plan.stage("format") if call.target.endswith(".pack_examples")}
    assert template is not None and tokenize is not None
    perform(template, tokenizer=tokenizer)
    made: dict[str, Tokenized] = {}
    for purpose, rows in (("train", training), ("validation", validation)):
        if rows:
            made[purpose] = perform(tokenize, rows=rows, tokenizer=tokenizer)
    datasets = {purpose: _dataset(tokenized.examples, pack.get(purpose)) for purpose, tokenized in made.items()}
    stop_ids = {stop for tokenized in made.values() for stop in tokenized.stop_ids}
    return Formatted(
        datasets["train"],
        datasets.get("validation"),
        {purpose: tokenized.counted for purpose, tokenized in made.items()},
        tuple(sorted(stop_ids)),
        prompts_of(plan, validation or training),
        style_of(training),
        [bad for tokenized in made.values() for bad in tokenized.skipped],
    )


def _dataset(examples: list[Example], pack: Call | None) -> Any:
    """A datasets.Dataset with input_ids and labels and, packed, seq_lengths: the tokens of each document of a row."""
    from datasets import Dataset

    if pack is None:
        columns = {
            "input_ids": [example.input_ids for example in examples],
            "labels": [example.labels for example in examples],
        }
        return Dataset.from_dict(columns)
    packed: list[list[Example]] = perform(pack, examples=examples)
    columns = {
        "input_ids": [[token for part in row for token in part.input_ids] for row in packed],
        "labels": [[label for part in row for label in part.labels] for row in packed],
        "seq_lengths": [[len(part.input_ids) for part in row] for row in packed],
    }
    return Dataset.from_dict(columns)


@dataclass(frozen=True)
class Desk:
    """Where a run writes, what it shows, and whether it was asked to stop."""

    folder: RunDir
    screen: Screen
    stop: StopRequest


def train(plan: Plan, loaded: Loaded, data: Formatted, desk: Desk) -> Trained:
    """Train, with validation loss before the first step and after the last. TrainingError if labels got lost on the way
    to the trainer, the loss is not a number, or memory runs out."""
    from transformers import PrinterCallback

    from finetune.watch import Watcher

    *before, config, trainer_call = plan.stage("train")
    made = [thing for call in before if (thing := perform(call)) is not None]
    args = perform(config)
    stop = desk.stop
    with desk.screen.training() as line:
        watcher = Watcher(desk.folder.metrics, line, stop)
        trainer = perform(
            trainer_call,
            model=loaded.model,
            args=args,
            train_dataset=data.train,
            eval_dataset=data.validation,
            processing_class=loaded.tokenizer,
            callbacks=[watcher, *made],
        )
        trainer.remove_callback(PrinterCallback)  # it prints every log a second time
        _labels_survive(trainer)
        first, seconds = _guarded_training(trainer, data.validation is not None, stop)
        watcher.close()
    _weights_are_numbers(trainer.model)
    history = first + trainer.state.log_history
    tokens = max((entry.get("num_input_tokens_seen", 0) for entry in history), default=0)
    return Trained(trainer.model, seconds, int(tokens), trainer.state.global_step, history)


def _guarded_training(trainer: Any, has_validation: bool, stop: Any) -> tuple[list[dict[str, Any]], float]:
    """(what the validation before training gave, seconds of training without validation). That validation comes first
    so that a fault in it costs no training."""
    import torch

    try:
        first = [trainer.evaluate()] if has_validation else []
        started = time.monotonic()
        trainer.train()
        evaluating = sum(entry.get("eval_runtime", 0.0) for entry in trainer.state.log_history)
        seconds: float = time.monotonic() - started - evaluating
        last = trainer.state.log_history[-2:]
        if has_validation and stop.signal is None and not any("eval_loss" in entry for entry in last):
            trainer.evaluate()
    except torch.OutOfMemoryError as error:
        raise TrainingError(
            f"the GPU's memory is full: {str(error).splitlines()[0]} Lower micro_batch_size (and raise "
            "gradient_accumulation_steps by as much), lower sequence_len, set gradient_checkpointing: true, or "
            "load_in_4bit: true with adapter: qlora"
        ) from error
    return first, seconds


def _weights_are_numbers(model: Any) -> None:
    """TrainingError if the last step left weights that are not numbers; its loss was taken before it."""
    for name, weight in model.named_parameters():
        if weight.requires_grad and not bool(weight.isfinite().all()):
            raise TrainingError(f"the weights became infinite or not a number ({name}): lower learning_rate")


def _labels_survive(trainer: Any) -> None:
    """Compare the trained tokens of the trainer's first rows with what its collator makes of them; a token at the start
    of a document has nothing before it that could predict it, and does not count.

    TrainingError if labels got lost, or if packed rows come without the positions that keep documents apart."""
    dataset = trainer.train_dataset
    rows = [dataset[number] for number in range(min(8, len(dataset)))]
    columns = [{key: row[key] for key in ("input_ids", "labels", "seq_lengths") if key in row} for row in rows]
    promised = 0
    for row in columns:
        starts = {0}
        for length in row.get("seq_lengths", []):
            starts.add(max(starts) + length)
        promised += sum(label != IGNORED for place, label in enumerate(row["labels"]) if place not in starts)
    batch = trainer.data_collator(columns)
    if "seq_lengths" in columns[0] and "position_ids" not in batch:
        raise TrainingError(
            "packed rows reach the model without positions, so documents would see each other: this backend does not "
            "pack this model. Set sample_packing: false"
        )
    carried = int((batch["labels"] != IGNORED).sum())
    if "position_ids" not in batch:
        carried -= int((batch["labels"][:, 0] != IGNORED).sum())
    if carried != promised:
        raise TrainingError(
            f"{promised} trained tokens were prepared in the first rows, but the trainer's batch carries {carried}: "
            "labels were lost on the way. This is a fault of the program or of an untested library version"
        )


def save(plan: Plan, model: Any, tokenizer: Any, generation_config: Any) -> None:
    owners = {
        "PeftModel": model,
        "PreTrainedModel": model,
        "PreTrainedTokenizerBase": tokenizer,
        "GenerationConfig": generation_config,
    }
    for call in plan.stage("save"):
        if "self" in call.runtime:
            perform(call, self=owners[call.target.split(".")[-2]])
        else:
            perform(call)


def generation_config(plan: Plan, stop_ids: tuple[int, ...], pad_id: int) -> Any:
    call = plan.one("generate", "GenerationConfig")
    assert call is not None
    return perform(call, eos_token_id=list(stop_ids), pad_token_id=pad_id)


def prompts_of(plan: Plan, rows: Sequence[Row]) -> list[Prompt]:
    call = plan.one("generate", "sample_prompts")
    assert call is not None
    found: list[Prompt] = perform(call, rows=rows)
    return found


def answers(plan: Plan, prompts: list[Prompt], model: Any, tokenizer: Any, config: Any) -> list[Answer]:
    seed = plan.one("generate", "set_seed")
    assert seed is not None
    perform(seed)
    # What the plan leaves unset would else be filled in from the checkpoint's own generation_config.
    model.generation_config = config
    return [answer(prompt, model, tokenizer, config) for prompt in prompts]


def without_adapter(model: Any) -> Any:
    """A context in which a model with an adapter answers as its base."""
    off: Callable[[], Any] = getattr(model, "disable_adapter", nullcontext)
    return off()
