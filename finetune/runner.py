"""One run, from a checked recipe to a full run folder. Owns the order of the stages and what happens when one fails."""

import logging
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune import __version__, mending, ranks, stages, together
from finetune.aftermath import is_no_memory, room_to
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded, load_tokenizer, tokenizer_part
from finetune.beforehand import goes_on_from_adapter, load_rewards
from finetune.checkpoints import is_disk_full
from finetune.continuing import Opened, opened_run, same_data, wish_of
from finetune.data.warned import dated
from finetune.errors import FinetuneError, MachineError, RunFolderError
from finetune.exports_planned import export_finished, look_at_exports
from finetune.generation import Answer
from finetune.going import Going
from finetune.kernels.zero import computing
from finetune.machine import Machine
from finetune.noise import logged, quiet_libraries
from finetune.outcome import facts_of, now, report
from finetune.plan import Plan, perform
from finetune.ready import get_ready
from finetune.report.writing import keep_rows, write_page
from finetune.rows_known import data_facts
from finetune.rundir import RunDir, abandon, finish, keep_aside
from finetune.saving import save
from finetune.scoring import Scored
from finetune.screen import Screen
from finetune.stopping import Stopped, StopRequest, raise_on_signals
from finetune.told import counts, fits_positions, look_at_adapted


@dataclass(frozen=True)
class Request:
    """What was asked for on the command line. `composed`: the whole recipe as YAML; `keys`: every key in force.
    `judge`: what is to be said of prepared rows, their tokenizer and the folder; FinetuneError where they are
    refused."""

    recipe: Path
    overrides: list[str]
    output_dir: str
    composed: str
    keys: Mapping[str, Any]
    overwrite: bool = False
    judge: Callable[[Any, Any, RunDir], str] = field(default=lambda prepared, tokenizer, folder: "", compare=False)


def run(request: Request, plan: Plan, machine: Machine) -> int:
    """Train, save and answer. Returns the exit code: 0, or 128 + the signal that stopped training (all is saved then).

    FinetuneError if the machine cannot run the plan, or data, model, disk or training fail."""
    if plan.blockers:
        raise MachineError(*plan.blockers)
    raise_on_signals()
    if not ranks.this_rank().first:
        return _follow(request, plan)
    screen, libraries = Screen(), machine.trains_with(plan.backend)
    opened = opened_run(request.output_dir, request.overwrite, wish_of(plan), request.keys, libraries)
    if opened is None:
        screen.say(f"{request.output_dir} holds this run, and it is finished: nothing is left to do")
        ranks.tell(None)
        return 0
    folder, began = opened.folder, False
    try:
        with _disk_full_named(request.output_dir), logged(folder.log):
            for note in (*plan.notes, *opened.notes(plan)):
                screen.say(note)
            if folder.before is None:
                _describe(folder, request, plan, machine)
            sealed = {"recipe": dict(request.keys), "plan": plan.as_json(), "libraries": libraries}
            data = _rows(plan, folder, screen, request)
            going = _going_on(opened, sealed, plan, data)
            together.let_begin(data, going, folder.path)
            prepared = _prepare(plan, data, screen, request.keys)
            if opened.checkpoint is not None:
                _describe(folder, request, plan, machine)
                folder.append("resumed.jsonl", [opened.as_json() | {"at": now()}])
            began = True
            desk = stages.Desk(folder, screen, StopRequest(), prepared.config, prepared.rewards)
            code = _train_and_save(plan, prepared, going, desk)
    except BaseException as error:
        _clean_up(folder, error, began)
        raise
    kept = keep_aside(folder, "interrupted") if code else finish(folder)
    screen.say(f"run folder: {kept or request.output_dir}")
    return code or _exported(plan, screen)


def _exported(plan: Plan, screen: Screen) -> int:
    export_finished(plan, screen)
    return 0


def _follow(request: Request, plan: Plan) -> int:
    """As another process than the first: the same steps, without a word and without a file."""
    with together.scratch() as folder:
        _import_libraries(plan, screen := Screen(silent=True))
        said = ranks.hear()
        if said is None:
            return 0
        data = together.rows_of_first(plan, said)
        prepared = _prepare(plan, data, screen, request.keys)
        going = together.going_of_first(said, request.keys)
        return _train_and_save(
            plan, prepared, going, stages.Desk(folder, screen, StopRequest(), prepared.config, prepared.rewards)
        )


@dataclass(frozen=True)
class _Prepared:
    """Everything that exists before the first training step. `before`: the answers, where training will change
    what gives them. `rewards`: what rewards answers."""

    loaded: Loaded
    data: stages.Formatted
    config: Any
    before: list[Answer] | None
    scored: list[Scored]
    rewards: tuple[Any, ...]


def _import_libraries(plan: Plan, screen: Screen) -> None:
    with screen.stage("importing libraries"):
        get_ready(plan)
        BACKENDS[plan.backend].prepare_process()
        quiet_libraries(screen.console.is_terminal)


def _rows(plan: Plan, folder: RunDir, screen: Screen, request: Request) -> stages.Formatted:
    """What is trained and measured on; prepared once, before the processes of a run are a group."""
    sources = stages.open_sources(plan)
    _import_libraries(plan, screen)
    # Before the model: a bad row must not cost its download.
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    with screen.preparing() as watch:
        prepared = stages.prepare(plan, sources, tokenizer, watch)
    if prepared.skipped:
        folder.write_lines("skipped_rows.jsonl", [bad.as_json() for bad in prepared.skipped])
    data = stages.format_rows(plan, prepared)
    look_at_exports(plan, tokenizer, data.style)
    keep_rows(folder, prepared, tokenizer)
    for line in (*prepared.said(), *counts(data), request.judge(prepared, tokenizer, folder)):
        if line:
            screen.say(line)
    return data


def _prepare(plan: Plan, data: stages.Formatted, screen: Screen, keys: Mapping[str, Any]) -> _Prepared:
    backend, rewards = BACKENDS[plan.backend], load_rewards(plan)
    together.join(plan)
    with screen.stage("loading the model"), room_to("load the model", mending.of_loading(keys)):
        loaded = backend.load(plan.stage("load"))
    # The template is saved with the tokenizer that the backend hands on.
    perform(stages.one(plan, "set_template"), tokenizer=loaded.tokenizer)
    for note in (*loaded.notes, *dated(loaded.tokenizer)):
        screen.say(note)
    fits_positions(plan, loaded.model, screen)
    config = stages.generation_config(plan, data.stop_ids, loaded.tokenizer.pad_token_id)
    before = None
    if not plan.has_adapter:
        # All weights are about to change: what the base answers must be asked now.
        room = room_to("answer them", mending.of_answers(keys))
        with screen.stage("answering the sample questions before training"), room, computing(loaded.model):
            before = stages.answers(plan, data.prompts, loaded.model, loaded.tokenizer, config)
    with room_to("take the adapter and score the sample pairs", mending.of_loading(keys)):
        adapted = Loaded(backend.adapt(loaded.model, plan.stage("adapt")), loaded.tokenizer)
        look_at_adapted(adapted.model, loaded, screen.say)
        before = _before_going_on(plan, data, adapted, config) if goes_on_from_adapter(plan) else before
        scored = stages.scored(plan, data, adapted)
    return _Prepared(adapted, data, config, before, scored, rewards)


def _before_going_on(plan: Plan, data: stages.Formatted, adapted: Loaded, config: Any) -> list[Answer]:
    """The answers of a model with the adapter that it goes on from."""
    BACKENDS[plan.backend].for_inference(adapted.model)
    with computing(adapted.model):
        return stages.answers(plan, data.prompts, adapted.model, adapted.tokenizer, config)


def _going_on(opened: Opened, sealed: Mapping[str, Any], plan: Plan, data: stages.Formatted) -> Going:
    """DataError if the data is not what the checkpoint was written with."""
    facts = data_facts({"train": data.train, "validation": data.validation})
    if opened.checkpoint is not None:
        same_data(opened.checkpoint, facts, wish_of(plan).changed)
    return Going(opened.checkpoint, opened.changed, {**sealed, "data": facts, "finetune": __version__})


def _train_and_save(plan: Plan, prepared: _Prepared, going: Going, desk: stages.Desk) -> int:
    loaded, data, config = prepared.loaded, prepared.data, prepared.config
    folder, screen = desk.folder, desk.screen
    folder.status("training")
    with desk.stop.listening() as stop:
        trained = stages.train(plan, loaded, data, desk, going)
        stop.agreed()
        screen.say("saving")
        with room_to("save what was trained", {}, trained.goes_on or "; no checkpoint is there to go on from"):
            save(plan, trained.model, loaded.tokenizer, config)
        folder.write("data.json", {purpose: asdict(counted) for purpose, counted in data.counted.items()})
        folder.write("generation.json", {"style": data.style, "stop_ids": list(data.stop_ids)})
    if stop.signal is not None:
        return _interrupted(folder, screen, trained, stop.signal)
    pairs: list[dict[str, Any]] = []
    try:
        pairs = _answered(plan, prepared, trained.model, screen)
        folder.write("answers.json", pairs)
        screen.answers(pairs)
        _score_again(plan, prepared, trained.model, desk)
    except Stopped as stopped:
        return _interrupted(folder, screen, trained, stopped.number)
    except (RuntimeError, MemoryError, OSError) as error:
        if not is_no_memory(error):
            raise
        # The training is done and saved: it is not to fail by its samples.
        smaller = mending.as_yaml(mending.of_answers(going.facts["recipe"])).rstrip()
        screen.say(f"warning: the memory is full, so the sample questions are not answered. Another run: {smaller}")
    report(folder, screen, facts_of(trained, pairs), "finished")
    if ranks.this_rank().first:
        write_page(folder.path)
    ranks.leave()
    return 0


def _score_again(plan: Plan, prepared: _Prepared, model: Any, desk: stages.Desk) -> None:
    if prepared.scored:
        after = stages.scored(plan, prepared.data, Loaded(model, prepared.loaded.tokenizer))
        both = [before.beside(now) for before, now in zip(prepared.scored, after, strict=True)]
        desk.folder.write("scores.json", both)
        desk.screen.scores(both)


def _interrupted(folder: RunDir, screen: Screen, trained: stages.Trained, number: int) -> int:
    """Report a run whose weights are saved but which was stopped; the exit code."""
    report(folder, screen, facts_of(trained, []), "interrupted")
    write_page(folder.path)
    screen.say(f"stopped by {signal.Signals(number).name} after step {trained.steps}; all is saved{trained.goes_on}")
    ranks.wait()  # a launcher that sees one process end with this code ends the others
    return 128 + number


def _answered(plan: Plan, prepared: _Prepared, model: Any, screen: Screen) -> list[dict[str, Any]]:
    """The sample questions with the answers before and after training."""
    loaded, data, config, before = prepared.loaded, prepared.data, prepared.config, prepared.before
    with screen.stage("answering the sample questions"):
        BACKENDS[plan.backend].for_inference(model)
        if before is None:
            with stages.without_adapter(model):
                before = stages.answers(plan, data.prompts, model, loaded.tokenizer, config)
        after = stages.answers(plan, data.prompts, model, loaded.tokenizer, config)
    return [
        {"question": prompt.question, "expected": prompt.expected, "before": vars(one), "after": vars(other)}
        for prompt, one, other in zip(data.prompts, before, after, strict=True)
    ]


def _describe(folder: RunDir, request: Request, plan: Plan, machine: Machine) -> None:
    folder.write_text("recipe.yaml", request.recipe.read_text("utf-8-sig"))
    folder.write_text("recipe.composed.yaml", request.composed)
    folder.write("plan.json", plan.as_json())
    folder.write("machine.json", {"finetune": __version__, **machine.as_json()})
    origin = {"recipe": str(request.recipe), "overrides": request.overrides, "directory": str(Path.cwd())}
    folder.write("origin.json", origin | {"began": now(), "keys": dict(request.keys)})
    folder.status("preparing")


def _clean_up(folder: RunDir, error: BaseException, began: bool) -> None:
    """A run that never began training leaves nothing; one that did stays, beside what it was to replace."""
    if not began:
        abandon(folder)
        return
    try:
        folder.status(
            "interrupted" if isinstance(error, KeyboardInterrupt) else "failed",
            ended=now(),
            why=str(error) or type(error).__name__,
        )
    except OSError:
        logging.getLogger(__name__).warning("the status could not be written")  # the disk is full: the error says so
    write_page(folder.path)
    kept = keep_aside(folder, "failed")
    if kept is not None:
        error.add_note(f"what the failed run left is in {kept}; the run it was to replace is untouched")


@contextmanager
def _disk_full_named(output_dir: str) -> Iterator[None]:
    """RunFolderError for whatever the libraries raise when the disk is full."""
    try:
        yield
    except FinetuneError:
        raise
    except Exception as error:
        if is_disk_full(error):
            raise RunFolderError(f"the disk of output_dir {output_dir} is full. Free some, or name another") from error
        raise
