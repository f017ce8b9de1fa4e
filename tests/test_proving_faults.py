"""A proof goes red: faults put into a recipe, a template, data, or the code, each with the line that must show it."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from finetune.proving.lines import Report
from finetune.proving.prove import proved
from tests.conftest import ROOT

CHATML = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
NO_END = CHATML.replace("<|im_end|>\n", "\n\n") + ASKS
REWRITES = CHATML.replace("{{ m['content'] }}", "{{ m['content'] if loop.last else m['content'][:3] }}") + ASKS
END_UNLEARNED = CHATML.replace("<|im_end|>\n", "{% if m['role'] == 'user' %}<|im_end|>\n{% endif %}") + ASKS


def recipe_file(folder: Path, **changes: Any) -> Path:
    values = {
        "base_model": "Qwen/Qwen2.5-1.5B-Instruct",
        "datasets": [{"path": str(ROOT / "recipes/quickstart/conversations.jsonl"), "type": "chat_template"}],
        "adapter": "lora",
        "lora_r": 8,
        "learning_rate": 2e-4,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 2,
        "output_dir": "out",
    } | changes
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in values.items() if value is not None}))
    return path


def failed(report: Report) -> set[str]:
    return {line.check for line in report.failed}


def rows(folder: Path, *made: dict[str, Any]) -> list[dict[str, Any]]:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return [{"path": str(path), "type": "chat_template"}]


@pytest.mark.parametrize(
    ("changes", "line", "why"),
    [
        ({"chat_template": "jinja", "chat_template_jinja": NO_END}, "format", "never learn to stop"),
        ({"chat_template": "jinja", "chat_template_jinja": REWRITES}, "format", "asks for this answer in another way"),
        ({"chat_template": "jinja", "chat_template_jinja": END_UNLEARNED}, "format", "never learn to stop"),
        ({"chat_template": "llama3"}, "format", "does not know as one token"),
        ({"roles_to_train": ["tool"]}, "format", "noth"),
        ({"datasets": [{"path": "../quickstart/conversations.jsonl", "type": "alpaca"}]}, "format", "instruction"),
        ({"train_on_eos": "none"}, "stop token", "0 of 12 rows"),
    ],
    ids=["no end", "rewrites history", "no end of answers", "marks unknown", "all masked", "wrong form", "end masked"],
)
def test_a_faulty_template_or_form_of_rows_is_seen_before_training(
    tmp_path: Path, changes: dict[str, Any], line: str, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.proving.checks.ORDER", checks_until("format"))
    if "datasets" in changes:
        changes = {
            "datasets": [changes["datasets"][0] | {"path": str(ROOT / "recipes/quickstart/conversations.jsonl")}]
        }
    report = proved(recipe_file(tmp_path, **changes), [], None)
    assert failed(report) == {line}
    assert why in report.failed[0].said


def checks_until(last: str) -> list[Any]:
    from finetune.proving import checks

    names = [check.__name__ for check in checks.ORDER]
    return list(checks.ORDER[: names.index(last) + 1])


def test_a_bad_row_is_named_by_its_own_file_and_line(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "how are you"}, {"role": "assistant", "content": "well"}]}
    bad = {"messages": [{"role": "user", "content": "how are you"}, {"role": "oracle", "content": "well"}]}
    report = proved(recipe_file(tmp_path, datasets=rows(tmp_path, good, bad, good)), [], None)
    assert failed(report) == {"format"}
    assert "oracle" in report.failed[0].said and "rows.jsonl" in report.lines[-1].said


Fault = Callable[[pytest.MonkeyPatch], None]


def wrapped(target: str, change: Callable[[Any, Any], Any]) -> Fault:
    """`change` is given what the target gives, and its first argument."""

    def put(monkeypatch: pytest.MonkeyPatch) -> None:
        from finetune.plan import find

        real = find(target)
        monkeypatch.setattr(target, lambda *given, **named: change(real(*given, **named), given[0] if given else None))

    return put


def replaced(target: str, new: Any) -> Fault:
    return lambda monkeypatch: monkeypatch.setattr(target, new)


def _shifted(batch: Any, _: Any) -> Any:
    batch["labels"] = torch.roll(batch["labels"], 1, dims=-1)
    batch["targets"] = torch.roll(batch["targets"], 1, dims=-1)
    return batch


def _without_ends(batch: Any, _: Any) -> Any:
    """What becomes of labels that are made from padding where the pad token is the end token."""
    kept = batch["targets"] != batch["targets"][-1]
    return batch | {"targets": batch["targets"][kept], "learned": batch["learned"][kept]}


def _unlearned(model: Any, _: Any) -> Any:
    for name, weight in model.named_parameters():
        weight.requires_grad_("lora_A" in name)
    return model


def _base_learns(model: Any, _: Any) -> Any:
    for name, weight in model.named_parameters():
        if "embed_tokens" in name:
            weight.requires_grad_(True)
    return model


def _without_alpha(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.exporting import merging

    real = merging.merge

    def merge(adapted: Any) -> Any:
        for module in adapted.modules():
            if hasattr(module, "scaling") and isinstance(module.scaling, dict):
                module.scaling = dict.fromkeys(module.scaling, 1.0)
        return real(adapted)

    monkeypatch.setattr("finetune.exporting.flow.merge", merge)


def _into_four_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.exporting import merging

    real = merging.merge

    def merge(adapted: Any) -> Any:
        merged = real(adapted)
        for name, weight in merged.named_parameters():
            if "proj" in name and weight.ndim == 2:
                step = weight.abs().max() / 7
                weight.data = (weight.data / step).round() * step
        return merged

    monkeypatch.setattr("finetune.exporting.flow.merge", merge)


def _per_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.kernels.trainer import FlatSFTTrainer

    real = FlatSFTTrainer.compute_loss

    def compute_loss(self: Any, model: Any, inputs: Any, return_outputs: bool = False, **named: Any) -> Any:
        del named
        loss = real(self, model, inputs, return_outputs, num_items_in_batch=None)
        return loss / self.args.gradient_accumulation_steps

    monkeypatch.setattr(FlatSFTTrainer, "compute_loss", compute_loss)


def _documents_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    from finetune.kernels.trainer import FlatSFTTrainer

    real = FlatSFTTrainer._given

    def given(self: Any, inputs: Any) -> Any:
        made = real(self, inputs)
        count = inputs["input_ids"].shape[1]
        made["position_ids"] = torch.arange(count)[None]
        made["cu_seq_lens_q"] = made["cu_seq_lens_k"] = torch.tensor([0, count], dtype=torch.int32)
        made["max_length_q"] = made["max_length_k"] = count
        return made

    monkeypatch.setattr(FlatSFTTrainer, "_given", given)
    monkeypatch.setattr(FlatSFTTrainer, "_lies_flat", lambda self: True)


def _chance_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.progress.set_random_state", lambda state: None)
    monkeypatch.setattr("transformers.Trainer._load_rng_state", lambda self, checkpoint: None)


def _as_transformers_loads(self: Any, checkpoint: str, model: Any = None) -> None:
    """Once this loads the trained adapter too, finetune/trainers/resuming.py may go."""
    from transformers import Trainer

    Trainer._load_from_checkpoint(self, checkpoint, model)


def _no_stop(config: Any, _: Any) -> Any:
    config.eos_token_id = [0]
    return config


CODE: dict[str, tuple[dict[str, Any], Fault, set[str]]] = {
    "labels shifted": ({}, wrapped("finetune.kernels.flat.batch_of", _shifted), {"loss by hand"}),
    "pad is end": ({}, wrapped("finetune.kernels.trainer.FlatCollator.__call__", _without_ends), {"training"}),
    "a mean of each pass": ({}, _per_pass, {"accumulation"}),
    "documents see each other": ({"sample_packing": True}, _documents_meet, {"accumulation"}),
    "adapter half frozen": ({}, wrapped("finetune.backends.transformers.adapt", _unlearned), {"what is trained"}),
    "base weights learn": ({}, wrapped("finetune.backends.transformers.adapt", _base_learns), {"what is trained"}),
    "optimizer forgotten": (
        {},
        replaced("transformers.Trainer._load_optimizer_and_scheduler", lambda self, checkpoint: None),
        {"resume"},
    ),
    "order forgotten": (
        {},
        replaced("transformers.trainer.skip_first_batches", lambda loader, count: loader),
        {"resume"},
    ),
    "chance forgotten": (
        {"lora_dropout": 0.2},
        _chance_forgotten,
        {"resume"},
    ),
    "adapter of a preference run forgotten": (
        {"rl": "dpo", "datasets": [{"path": str(ROOT / "recipes/quickstart/preferences.jsonl")}]},
        replaced("finetune.trainers.resuming.BothAdapters._load_from_checkpoint", _as_transformers_loads),
        {"resume"},
    ),
    "alpha lost": ({"lora_alpha": 32}, _without_alpha, {"merge"}),
    "merged into four bits": ({}, _into_four_bits, {"merge"}),
    "no stop token": ({}, wrapped("finetune.stages.generation_config", _no_stop), {"generation stops"}),
}


@pytest.mark.slow
@pytest.mark.parametrize("fault", CODE)
def test_a_fault_in_the_code_turns_its_line_red(tmp_path: Path, fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    changes, put, lines = CODE[fault]
    put(monkeypatch)
    report = proved(recipe_file(tmp_path, **changes), [], None)
    assert lines <= failed(report), [vars(line) for line in report.lines]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "lines"),
    [({"learning_rate": 1e-12}, {"loss falls"}), ({"learning_rate": 50.0}, {"loss falls", "training", "merge"})],
    ids=["too small", "too large"],
)
def test_a_learning_rate_that_nobody_trains_with_does_not_prove(
    tmp_path: Path, changes: dict[str, Any], lines: set[str]
) -> None:
    assert failed(proved(recipe_file(tmp_path, **changes), [], None)) & lines


@pytest.mark.slow
def test_nothing_of_this_is_red_without_a_fault(tmp_path: Path) -> None:
    for changes in ({}, {"sample_packing": True}, {"lora_dropout": 0.2}, {"lora_alpha": 32}):
        report = proved(recipe_file(tmp_path, **changes), [], None)
        assert report.passed, [vars(line) for line in report.lines]
