"""The rest of a training is told after a few measured steps."""

import io
from typing import Any

from rich.console import Console

from finetune import pace
from finetune.pace import Pace, in_words
from finetune.screen import Screen


def after(*seconds: float) -> Pace:
    made, now = Pace(), 0.0
    for each in seconds:
        made.begin(now)
        now += each
        made.end(now)
        now += 100.0  # a measurement of the validation rows
    return made


def test_the_first_step_and_what_lies_between_steps_do_not_count() -> None:
    assert after(60, 2, 2, 2).left(100) is None
    made = after(60, 2, 2, 2, 2)
    assert made.just_known and made.step_seconds == 2 and made.left(100) == 200
    assert made.left(10) is None, "a rest of seconds is not worth a word"
    assert not after(60, *[2.0] * 5).just_known


def test_times_in_words() -> None:
    assert [in_words(seconds) for seconds in (50, 720, 12_000)] == ["50 s", "12 min", "3 h 20 min"]


def test_a_log_says_how_long_the_rest_takes(monkeypatch: Any, write_recipe: Any, finetune: Any) -> None:
    monkeypatch.setattr(pace, "LITTLE_SECONDS", 0.0)
    code, out, _ = finetune(write_recipe(max_steps=7, logging_steps=1, micro_batch_size=1))
    assert code == 0
    assert "until step 7, without" in out
    line = next(line for line in out.splitlines() if line.startswith("step 6/7"))
    assert line.endswith("s left")


def test_a_terminal_has_its_bar() -> None:
    screen = Screen()
    screen.console = Console(file=io.StringIO(), force_terminal=True)
    with screen.training() as line:
        line.begin(10)
        line.facts(3, "loss 1.0", 500.0)
    assert "left" not in screen.console.file.getvalue()  # type: ignore[attr-defined]
