"""The trackers in a run: told last, so that they see every figure, and never able to end it. Knows transformers'
callbacks by their events only."""

import functools
import logging
from collections.abc import Callable, Mapping
from typing import Any


class Trackers:
    """A callback that hands each event on to the callbacks of the trackers. One that fails is left out from then on,
    which is said once."""

    def __init__(self, callbacks: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.callbacks, self.say = dict(callbacks), say

    def __getattr__(self, event: str) -> Any:
        if not event.startswith("on_"):
            raise AttributeError(event)
        return functools.partial(self._hand_on, event)

    def _hand_on(self, event: str, args: Any, state: Any, control: Any, **named: Any) -> None:
        for name, callback in list(self.callbacks.items()):
            try:
                getattr(callback, event)(args, state, control, **named)
            except Exception as error:
                del self.callbacks[name]
                why = str(error).strip().splitlines() or [type(error).__name__]
                logging.getLogger(__name__).warning("%s failed in %s", name, event, exc_info=error)
                self.say(
                    f"warning: {name} failed at step {state.global_step} ({why[0][:200]}); the run goes on without it, "
                    "and metrics.jsonl holds every figure"
                )


def trackers_last(trainer: Any, say: Callable[[str], None]) -> None:
    """Put one Trackers in the place of the trackers' own callbacks, after all others."""
    from transformers.integrations.integration_utils import get_reporting_integration_callbacks

    names = trainer.args.report_to
    kinds = get_reporting_integration_callbacks(names)
    own = {name: trainer.pop_callback(kind) for name, kind in zip(names, kinds, strict=True)}
    if own:
        trainer.add_callback(Trackers(own, say))
