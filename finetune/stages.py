"""What each stage of a run does with its planned calls. Makes no choice: every argument comes from the Plan."""

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from finetune import mending, ranks
from finetune.aftermath import compiling, in_fixed_order, room_to
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded
from finetune.data.bad_rows import BadOne
from finetune.data.entries import Entry
from finetune.data.origins import Origins, origins
from finetune.data.packing import Packed
from finetune.data.prepare import Place, Watch
from finetune.data.prepared import Prepared
from finetune.errors import TrainingError
from finetune.evaluation.best import best_and_last
from finetune.formats.meaning import Row
from finetune.generation import Answer, Prompt, answer, style_of
from finetune.going import Going
from finetune.kernels.zero import hold
from finetune.memory.lengths import remember
from finetune.plan import Call, Plan, perform
from finetune.progress import bad_weight
from finetune.promises import answers_end, labels_survive, rewarding
from finetune.rendering.examples import Counted
from finetune.rendering.lengths import refuse_losses
from finetune.rundir import RunDir
from finetune.scoring import Scored, scores
from finetune.screen import Screen
from finetune.stopping import StopRequest
from finetune.trackers import go_offline_where_needed, trackers_last
from finetune.tried import look_at_model, try_model

OWN_PLACE = (".Wish", ".Keeper")
"""Calls of the stage of training that are not made with the others, in their order."""


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
    fill: dict[str, float]
    prepared: Prepared
    origin: Origins | None = None


@dataclass(frozen=True)
class Trained:
    """`seconds` and `tokens` of the training loop alone; `history` is the trainer's log. `best`: which measurement was
    the best, if any was made, and which checkpoints there are. `goes_on`: how a stopped run goes on.
    `memory`: what it took on a GPU, and what was foreseen."""

    model: Any
    seconds: float
    tokens: int
    steps: int
    history: list[dict[str, Any]]
    best: dict[str, Any]
    goes_on: str = ""
    memory: dict[str, Any] | None = None


def open_sources(plan: Plan) -> list[Entry]:
    """The recipe's data, before any library is imported: what is not there must not cost a download."""
    return [perform(call) for call in plan.stage("format") if call.target.endswith(".open_source")]


def prepare(plan: Plan, sources: Sequence[Entry], tokenizer: Any, watch: Watch | None = None) -> Prepared:
    """Tokens and labels of all rows, made now or by an earlier run; the tokenizer gets the template. `watch` is
    told how far it is."""
    several = plan.one("format", "templates_of_entries")
    templates = perform(several, tokenizer=tokenizer) if several else ()
    perform(one(plan, "set_template"), tokenizer=tokenizer)
    place: Place = perform(one(plan, "prepare.Place"))
    place.watch, place.templates = watch or place.watch, templates
    prepared: Prepared = perform(one(plan, "Place.prepare"), self=place, sources=sources, tokenizer=tokenizer)
    remember(plan, prepared)
    return prepared


def one(plan: Plan, target: str) -> Call:
    """The format stage's only call of a target."""
    call = plan.one("format", target)
    assert call is not None, target
    return call


def format_rows(plan: Plan, prepared: Prepared) -> Formatted:
    """DataError if a source lost more of its rows than the recipe allows."""
    share = one(plan, "Place.prepare").arguments["lengths"]["max_dropped_share"]
    datasets, fill, origin = {}, {}, None
    for purpose in prepared.purposes:
        refuse_losses(prepared.counted[purpose].sources, share)
        packed = packing(plan, prepared, purpose)
        datasets[purpose] = _dataset(plan, prepared, purpose, packed)
        imitated = prepared.facts["kind"] == "rows"
        origin = origins(prepared, purpose, packed) if purpose == "train" and imitated else origin
        if packed is not None:
            fill[purpose] = packed.fill
    training = prepared.first_rows("train")
    return Formatted(
        datasets["train"],
        datasets.get("validation"),
        prepared.counted,
        prepared.stop_ids,
        prompts_of(plan, prepared.first_rows("validation") if "validation" in datasets else training),
        style_of(training),
        prepared.skipped,
        fill,
        prepared,
        origin,
    )


def _dataset(plan: Plan, prepared: Prepared, purpose: str, packed: Packed | None) -> Any:
    """What the trainer takes: token ids and labels, or what the plan makes of preferences, judgements and questions."""
    for call in plan.stage("format"):
        if ".shapes." in call.target and call.arguments["purpose"] == purpose:
            return perform(call, prepared=prepared)
    return prepared.dataset(purpose, packed)


def packing(plan: Plan, prepared: Prepared, purpose: str) -> Packed | None:
    """Which documents share a row; None where the recipe does not pack."""
    for call in plan.stage("format"):
        if call.target.endswith(".pack_documents") and call.arguments["purpose"] == purpose:
            packed: Packed = perform(call, lengths=prepared.documents(purpose).lengths)
            return packed
    return None


@dataclass(frozen=True)
class Desk:
    """Where a run writes, what it shows, whether it was asked to stop, how its sample questions are answered, and what
    rewards answers."""

    folder: RunDir
    screen: Screen
    stop: StopRequest
    answering: Any
    rewards: Sequence[Any] = ()


def train(plan: Plan, loaded: Loaded, data: Formatted, desk: Desk, going: Going) -> Trained:
    """Train, with validation loss before the first step and after the last. TrainingError if labels got lost on the way
    to the trainer, the loss is not a number, or memory runs out."""
    from finetune.memory.trying import first_of
    from finetune.watch import Watcher

    keep = plan.one("train", ".Keeper")
    assert keep is not None
    keeper = perform(keep)
    keys = going.facts["recipe"]
    with desk.screen.training() as line, compiling(keys), in_fixed_order(keys):
        watcher = Watcher(going.metrics_in(desk.folder), line, going.until)
        with room_to("begin to train", mending.of_loading(keys)):
            trainer, measuring = _trainer(plan, loaded, data, desk, (watcher, keeper))
        for remark in (*getattr(trainer, "attends", ()), *getattr(trainer, "remarks", ())):
            desk.screen.say(remark)
        labels_survive(trainer, data.prepared)
        try_model(plan, trainer, data.prepared.facts.get("kind", "rows"))
        if measuring is not None:
            measuring.attach(trainer, keeper.alarm.listen)
            if ranks.this_rank().of == 1:
                measuring.try_eval_batch()
        keeper.origin = data.origin
        keeper.attach(going.surroundings(trainer, watcher, desk.stop, desk.folder))
        tried = first_of(plan, keys).attach(trainer)
        first, seconds = _guarded_training(trainer, data.validation is not None, keeper)
        watcher.close()
    _weights_are_numbers(trainer.model)
    history = first + trainer.state.log_history
    tokens = max((entry.get("num_input_tokens_seen", 0) for entry in history), default=0)
    best = best_and_last(trainer.args, trainer.state, keeper.around.folder)
    done = trainer.state.global_step
    return Trained(trainer.model, seconds, int(tokens), done, history, best, keeper.goes_on, tried.facts())


def _trainer(plan: Plan, loaded: Loaded, data: Formatted, desk: Desk, ends: tuple[Any, Any]) -> tuple[Any, Any]:
    """The trainer with its callbacks, and the one among them that measures, where there is one. It comes first, so that
    all others see what it adds; the trackers come last. `ends`: its neighbour, and what comes after all the others."""
    from transformers import PrinterCallback

    *before, config, trainer_call = [call for call in plan.stage("train") if not call.target.endswith(OWN_PLACE)]
    # What has to wait for the trainer says so.
    waiting = [call for call in before if "trainer" in call.runtime]
    others = [call for call in before if call not in waiting and ".rewards." not in call.target]
    bench = {"bench": _bench(plan, loaded, data, desk)}
    made = [perform(call, **(bench if call.runtime else {})) for call in others]
    made = [thing for thing in made if thing is not None]
    measuring = [thing for thing in made if hasattr(thing, "try_eval_batch")]
    answers_end(loaded.model, data.stop_ids)
    args = perform(config)
    hold(args)
    look_at_model(plan, loaded, args, desk.screen.say)
    if not ranks.this_rank().first:
        args.report_to = []
    go_offline_where_needed(args, desk.folder.path, desk.screen.say)
    trainer = perform(
        trainer_call,
        model=loaded.model,
        args=args,
        train_dataset=data.train,
        eval_dataset=data.validation,
        processing_class=loaded.tokenizer,
        callbacks=[*measuring, ends[0], *(thing for thing in made if thing not in measuring), ends[1]],
        **rewarding(desk.rewards),
    )
    trainer.remove_callback(PrinterCallback)  # it prints every log a second time
    for call in waiting:
        perform(call, trainer=trainer)
    trackers_last(trainer, desk.folder.path, desk.screen.say)
    return trainer, measuring[0] if measuring else None


def _bench(plan: Plan, loaded: Loaded, data: Formatted, desk: Desk) -> Any:
    """What measuring stands on besides the trainer."""
    from finetune.evaluation.asking import Asker
    from finetune.evaluation.measuring import Bench

    seed = plan.one("generate", "set_seed")
    assert seed is not None
    backend = BACKENDS[plan.backend]
    asker = Asker(loaded.model, loaded.tokenizer, backend, seed.arguments["seed"], desk.screen.say)
    return Bench(asker, data.validation, data.prompts, desk.answering, desk.folder)


def _guarded_training(trainer: Any, has_validation: bool, keeper: Any) -> tuple[list[dict[str, Any]], float]:
    """(what the validation before training gave, seconds of training without validation). That validation comes first
    so that a fault in it costs no training."""
    first = keeper.first_metrics(has_validation)
    started = time.monotonic()
    keeper.train()
    waited = first if keeper.first_waits else []
    evaluating = sum(entry.get("eval_runtime", 0.0) for entry in [*waited, *trainer.state.log_history])
    seconds: float = time.monotonic() - started - evaluating
    last = trainer.state.log_history[-2:]
    if has_validation and not keeper.stopping and not any("eval_loss" in entry for entry in last):
        keeper.measure()
    return first, seconds


def _weights_are_numbers(model: Any) -> None:
    """TrainingError if the last step left weights that are not numbers; its loss was taken before it."""
    name = bad_weight(model)
    if name is not None:
        raise TrainingError(f"the weights became infinite or not a number ({name}): lower learning_rate")


def generation_config(plan: Plan, stop_ids: tuple[int, ...], pad_id: int) -> Any:
    call = plan.one("generate", "GenerationConfig")
    assert call is not None
    return perform(call, eos_token_id=list(stop_ids), pad_token_id=pad_id)


def prompts_of(plan: Plan, rows: Sequence[Row]) -> list[Prompt]:
    call = plan.one("generate", "sample_prompts")
    if call is None:
        return []  # what is trained scores answers and writes none
    found: list[Prompt] = perform(call, rows=rows)
    return found


def answers(plan: Plan, prompts: list[Prompt], model: Any, tokenizer: Any, config: Any) -> list[Answer]:
    seed = plan.one("generate", "set_seed")
    assert seed is not None
    perform(seed)
    # What the plan leaves unset would else be filled in from the checkpoint's own generation_config.
    model.generation_config = config
    return [answer(prompt, model, tokenizer, config) for prompt in prompts]


def scored(plan: Plan, data: Formatted, loaded: Loaded) -> list[Scored]:
    """What a reward model gives the sample pairs; nothing for a model that answers."""
    call = plan.one("generate", "sample_pairs")
    if call is None:
        return []
    return scores(perform(call, prepared=data.prepared, tokenizer=loaded.tokenizer), loaded.model)


def without_adapter(model: Any) -> Any:
    """A context in which a model with an adapter answers as its base."""
    off: Callable[[], Any] = getattr(model, "disable_adapter", nullcontext)
    return off()
