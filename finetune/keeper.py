"""The trainer's callback that writes checkpoints from which a run goes on bit for bit, and that puts a trainer back to
where one was written. Imports transformers: only the stages import this module, once the backend is ready."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from finetune import checkpoints, progress, ranks
from finetune.aftermath import explained, fitting
from finetune.alarm import Alarm
from finetune.checkpoints import ASIDE, Checkpoint
from finetune.errors import TrainingError
from finetune.going import Surroundings, growing
from finetune.trainers import virtual
from finetune.workers import undisturbed, undisturbed_measuring

STATE = "trainer_state.json"


class NothingLeft(Exception):
    """Raised in place of a step too many: the run had trained all of them when its checkpoint was written."""


class Keeper(TrainerCallback):  # type: ignore[misc]
    """A checkpoint of the last step of an epoch, or of the run, is written after what the epoch's end brings: a run
    that goes on from it would not come by there again."""

    def __init__(
        self,
        *,
        save_total_limit: int | None,
        save_first_step: bool,
        trigger_file: str | None,
        check_interval: int,
    ) -> None:
        self.limit, self.first_step = save_total_limit, save_first_step
        self.rank = ranks.this_rank()
        self.trigger_file, self.check_interval = trigger_file, check_interval
        self.loader: Any = None
        self.origin: Any = None
        self.at = 0
        self.alarm = Alarm()
        self.deferred = self.early = self.due = self.stopping = False
        self.measures = self.loaded = self.first_waits = False
        self.pending: dict[str, bool] | None = None
        self.owed: dict[str, bool] | None = None
        self.random: dict[str, Any] | None = None
        self.before_evaluation: dict[str, Any] | None = None
        self.stale: list[Path] = []
        self.last: Checkpoint | None = None

    def attach(self, around: Surroundings) -> None:
        self.around = around
        self.folder = around.folder / "checkpoints"
        undisturbed_measuring(around.trainer)
        self.last = around.resumed if around.resumed and around.resumed.path.parent == self.folder else None
        self.trigger = None if self.trigger_file is None else around.folder / self.trigger_file

    @property
    def goes_on(self) -> str:
        """What to say of a stopped run."""
        usable = self.last is not None and self.last.facts["resumable"]
        return f"; `--resume` goes on from {self.last.path}" if self.last is not None and usable else ""

    def first_metrics(self, has_validation: bool) -> list[dict[str, float]]:
        """Validation before the first step; a run that goes on has it in its checkpoint. In several processes it comes
        once the trainer has shared out the model: before, it would take that for done."""
        self.first: list[dict[str, float]] = []
        if self.around.resumed is not None:
            self.first += self.around.resumed.facts["first"]
        elif has_validation and self.rank.of > 1:
            self.first_waits = True
        elif has_validation:
            self.first.append(self.measure())
        return self.first

    def measure(self) -> dict[str, float]:
        """A measurement outside of training."""
        self.measures = True
        with explained(self):
            figures: dict[str, float] = self.around.trainer.evaluate()
        self.measures = False
        return figures

    @property
    def reached(self) -> int:
        """Steps that are done."""
        return int(self.around.trainer.state.global_step)

    def train(self) -> None:
        """TrainingError, with rows and a change of the recipe that may help, if the numbers or the memory end it."""
        trainer, resumed = self.around.trainer, self.around.resumed
        if resumed is not None:
            virtual.take_over(trainer, resumed.path)
            progress.let_projectors_load(trainer.args.optim)
        try:
            with explained(self), fitting(self):
                trainer.train(resume_from_checkpoint=None if resumed is None else str(resumed.path))
        except NothingLeft:
            trainer._finalize_training(None, 0, time.time())

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del control
        self.loaded = True
        if self.rank.first:
            checkpoints.clear_aside(self.folder)
        ranks.wait()
        args.output_dir = str(self.folder / ASIDE)
        progress.order_by_seed(kwargs.get("train_dataloader"), self.around.seed)
        self.loader = undisturbed(kwargs.get("train_dataloader"))
        resumed, trainer = self.around.resumed, self.around.trainer
        progress.draw_apart(args.seed, self.rank, resumed)
        if resumed is None:
            if self.first_waits:
                self.first.append(trainer.evaluate())
                state.log_history.clear()
            return
        virtual.restore(trainer.accelerator.unwrap_model(trainer.model), resumed.path)
        state.compute_steps(args, state.max_steps)  # the checkpoint holds those of the recipe as it was then
        progress.restore(trainer, progress.of_rank(resumed.facts["progress"], self.rank))
        self._restore_callbacks(state)
        self.owed = resumed.facts["owed"]
        best = self.folder / f"checkpoint-{state.best_global_step}"
        if not best.is_dir():
            best = resumed.path.parent / best.name
        state.best_model_checkpoint = str(best) if best.is_dir() and resumed.facts["best"] else None
        if self.around.fresh is not None:
            progress.set_hyperparameters(trainer, self.around.fresh)
        self.stale = [path for path in checkpoints.by_step(self.folder) if checkpoints.step_of(path) > resumed.step]
        spared = [resumed.path.name, best.name, *(path.name for path in self.stale)]
        if self.rank.first:
            checkpoints.rotate(self.folder, self.limit, spared)
        self.early = bool(resumed.facts["early"]) and not self.around.changed

    def _restore_callbacks(self, state: Any) -> None:
        for callback in self.around.trainer.callback_handler.callbacks:
            saved = state.stateful_callbacks.get(type(callback).__name__)
            if isinstance(saved, Mapping):
                vars(callback).update(saved.get("attributes", {}))

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, control, kwargs
        resumed, trainer = self.around.resumed, self.around.trainer
        if self.early or (resumed is not None and state.global_step >= state.max_steps):
            raise NothingLeft
        sampler, epoch = progress.sampler_of(self.loader), int(state.epoch or 0)
        progress.begin_epoch(sampler, self.around.seed, epoch)
        self.random = None
        inside = float(state.epoch or 0) != epoch
        if resumed is not None and state.global_step == resumed.step:
            if inside:
                return  # the trainer itself puts them back, after it has skipped the rows
            trainer._load_rng_state(str(resumed.path))
        self.random = progress.random_state()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Starting to read rows may draw random numbers, or not, as the workers are kept or not."""
        del args, kwargs
        self.at = state.global_step
        if self.random is not None:
            progress.set_random_state(self.random)
            self.random = None
        if self.owed is not None:
            owed, self.owed = self.owed, None
            self._evaluate_late(state, control, owed)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Before the weights take harm; where that would cost time, before anything of the step is written."""
        del args, control, kwargs
        self.alarm.listen()
        self.alarm.ask(self.around.trainer, state.global_step)

    def _evaluate_late(self, state: Any, control: Any, owed: Mapping[str, bool]) -> None:
        """The measurement that was due when the run was asked to stop."""
        trainer = self.around.trainer
        self.before_evaluation, self.measures = progress.random_state(), True
        metrics = trainer._evaluate(None, None)
        if trainer._determine_best_metric(metrics, None) and owed["save"] and self.around.resumed is not None:
            state.best_model_checkpoint = str(self.around.resumed.path)
        if control.should_training_stop:
            raise NothingLeft

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, kwargs
        if (self.first_step and state.global_step == 1) or self._triggered(state.global_step):
            control.should_save = True
        self.due = bool(control.should_save)
        if self.around.stop.agreed() is not None and not control.should_training_stop:
            self.stopping = control.should_training_stop = control.should_save = True
            self._owe(control)
        if control.should_save and (float(state.epoch).is_integer() or control.should_training_stop):
            self.deferred, control.should_save = True, False
        if self.due or control.should_log or control.should_evaluate or control.should_training_stop:
            self.alarm.listen()
        self._before_evaluation(control)

    def _before_evaluation(self, control: Any) -> None:
        """Measuring draws random numbers or not, as its workers are kept or new: training is not to notice."""
        self.before_evaluation = progress.random_state() if control.should_evaluate else None
        self.measures = bool(control.should_evaluate)

    def _owe(self, control: Any) -> None:
        """Whoever asked the run to stop does not wait for a measurement; the run that goes on makes it."""
        if control.should_evaluate:
            self.pending = {"save": self.due}
            control.should_evaluate = False

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.alarm.listen()
        if self.stopping and not float(state.epoch).is_integer():
            control.should_evaluate = control.should_save = False
        elif self.stopping:
            self.due = self.due or bool(control.should_save)
            self._owe(control)
        if self.deferred:
            self.deferred, control.should_save = False, True
        self._before_evaluation(control)

    def on_evaluate(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del args, kwargs
        self.measures = False
        if self.before_evaluation is not None:
            progress.set_random_state(self.before_evaluation)
            self.before_evaluation = None
        if control.should_training_stop and not self.stopping:
            self.early = state.global_step < state.max_steps

    def _triggered(self, step: int) -> bool:
        if self.trigger is None or step % self.check_interval:
            return False
        found = ranks.most(self.rank.first and self.trigger.exists())
        if found and self.rank.first:
            self.trigger.unlink(missing_ok=True)
        return bool(found)

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """TrainingError if the weights are no numbers any more: the checkpoint before stays the last."""
        del control, kwargs
        written = self.folder / ASIDE / f"checkpoint-{state.global_step}"
        bad = progress.bad_weight(self.around.trainer.model)
        if bad is not None:
            if self.rank.first:
                checkpoints.clear_aside(self.folder)
            raise TrainingError(
                f"the weights became infinite or not a number ({bad}), seen at step {state.global_step}"
            )
        final = self.folder / written.name
        if state.best_model_checkpoint == str(written):
            state.best_model_checkpoint = str(final)
        facts = {**self.around.facts, **self._where(state), "resumable": not args.save_only_model}
        if self.rank.first:
            self._publish(state, facts, (written, final))
        ranks.wait()
        self.last = Checkpoint(final, state.global_step, facts)
        self.stale = []

    def _publish(self, state: Any, facts: Mapping[str, Any], places: tuple[Path, Path]) -> None:
        written, final = places
        trainer = self.around.trainer
        state.save_to_json(str(written / STATE))
        virtual.save(trainer.accelerator.unwrap_model(trainer.model), written)
        checkpoints.seal(written, facts)
        checkpoints.publish(written, final)
        for path in self.stale:
            if path.is_dir() and path != final:
                checkpoints.remove(path)
        best = [Path(state.best_model_checkpoint).name] if state.best_model_checkpoint else []
        checkpoints.rotate(self.folder, self.limit, [final.name, *best])

    def _where(self, state: Any) -> dict[str, Any]:
        watcher = self.around.watcher
        return {
            "step": state.global_step,
            "epoch": state.epoch,
            "of": state.max_steps,
            "metrics_bytes": watcher.written(),
            "lines": {path.name: path.stat().st_size for path in growing(self.around.folder)},
            "seconds": watcher.seconds(),
            "evaluating": watcher.evaluating,
            # Gathered when the others have written their part of the checkpoint.
            "progress": ranks.gathered(progress.capture(self.around.trainer)),
            "processes": self.rank.of,
            "best": state.best_model_checkpoint is not None,
            "early": self.early,
            "owed": self.pending,
            "first": self.first,
        }

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        del state, control, kwargs
        args.output_dir = str(self.folder)
        ranks.wait()
        if self.rank.first:
            checkpoints.clear_aside(self.folder)
