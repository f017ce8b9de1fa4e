"""What is measured of a training's memory, and of which batch it is foreseen."""

from types import SimpleNamespace

import pytest
import torch

from finetune.memory.estimate import Pass
from finetune.memory.first import _can_be_foreseen, _can_be_tried, pass_of
from finetune.memory.peak import Peak


class Gpu:
    """Peaks that a GPU would tell, one after another."""

    def __init__(self, *peaks: int) -> None:
        self.peaks, self.resets = list(peaks), 0

    def stand_in(self, monkeypatch: pytest.MonkeyPatch) -> "Gpu":
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: self.peaks.pop(0))
        monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", self._reset)
        return self

    def _reset(self) -> None:
        self.resets += 1


def test_room_that_an_estimate_set_aside_is_not_measured_as_memory_of_the_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu, peak = Gpu(70, 900, 300).stand_in(monkeypatch), Peak()
    peak.begin()
    peak.tried(room=500)
    assert peak.before == 70 and gpu.resets == 2
    monkeypatch.setattr(torch.Tensor, "is_cuda", True)
    state = {"one": {"step": 3.0, "exp_avg": torch.zeros(20), "moved": torch.zeros(99)}}
    state["one"]["moved"].is_paged = True  # type: ignore[attr-defined]
    # What the trial took, with the states that the optimizer really has.
    assert peak.of_training(SimpleNamespace(state=state)) == 400 + 80


def test_the_peak_of_training_is_its_own_where_the_trial_took_less(monkeypatch: pytest.MonkeyPatch) -> None:
    Gpu(70, 900, 1300).stand_in(monkeypatch)
    peak = Peak()
    peak.begin()
    peak.tried(room=None)
    assert peak.of_training(SimpleNamespace(state={"one": {"there": torch.zeros(20)}})) == 1300


def test_trainers_that_cannot_be_tried_are_foreseen() -> None:
    def trainer(name: str, **parts: bool) -> object:
        return type(name, (), parts)()

    for name in ("UnslothSFTTrainer", "UnslothDPOTrainer"):
        assert _can_be_foreseen(trainer(name)) and not _can_be_tried(trainer(name))
    shared = trainer("FlatSFTTrainer", is_deepspeed_enabled=True)
    assert _can_be_foreseen(shared) and not _can_be_tried(shared)
    assert not _can_be_foreseen(trainer("GRPOTrainer"))


def test_what_a_batch_of_answers_that_are_compared_gives_the_model() -> None:
    ids = torch.zeros(4, 10, dtype=torch.long)
    asked = {"prompt_input_ids": ids[:, :3], "chosen_input_ids": ids, "rejected_input_ids": ids}
    assert pass_of(asked) == Pass(80, 80, 10)
    mask = torch.zeros(4, 10, dtype=torch.long)
    mask[:, 4:] = 1
    assert pass_of({"input_ids": ids, "completion_mask": mask, "KL_input_ids": ids}) == Pass(40, 24, 10)
