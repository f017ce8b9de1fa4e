"""Rows laid end to end teach what padded rows teach, in however many passes, on every loss path."""

import dataclasses
import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
from trl import SFTConfig, SFTTrainer

from finetune.errors import TrainingError
from finetune.evaluation.likelihood import likelihoods
from finetune.kernels import attention, flash, lora, tiled
from finetune.kernels.flat import FlatCollator, passes_of
from finetune.kernels.steps import QuickSteps
from finetune.kernels.trainer import FlatSFTConfig, FlatSFTTrainer
from tests import tiny
from tests.test_kernels import model_of


def dataset(count: int = 16) -> Dataset:
    made = torch.Generator().manual_seed(5)
    rows = []
    for _ in range(count):
        length = int(torch.randint(3, 40, (1,), generator=made))
        ids = torch.randint(3, 96, (length,), generator=made).tolist()
        asked = int(torch.randint(1, length, (1,), generator=made))
        rows.append({"input_ids": ids, "labels": [-100] * asked + ids[asked:]})
    return Dataset.from_list(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.save_model(tmp_path_factory.mktemp("model"))


def trained(folder: Path, out: Path, flat: dict[str, Any] | None, **chosen: Any) -> tuple[list[float], Any]:
    """(loss and gradient norm of each step, the trainer)."""
    adapted = chosen.pop("adapted", True)
    model = AutoModelForCausalLM.from_pretrained(folder)
    if adapted:
        config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
        torch.manual_seed(0)
        if flat:
            lora.fuse(peft_config=config)
        model = get_peft_model(model, config)
    if flat is not None and flat.pop("varlen", True):
        assert attention.take(model=model) == ""
    layout = {"cut_cross_entropy": True} | (flat or {}) if flat is not None else {}
    args = (SFTConfig if flat is None else FlatSFTConfig)(
        **{
            "output_dir": str(out),
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "gradient_accumulation_steps": 1,
            "logging_steps": 1,
            "learning_rate": 1e-3,
            "optim": "adamw_torch",
            "bf16": False,
            "use_cpu": True,
            "report_to": "none",
            "save_strategy": "no",
            "gradient_checkpointing": False,
            "dataset_kwargs": {"skip_prepare_dataset": True},
            "max_length": None,
            "seed": 1,
            "data_seed": 1,
        }
        | chosen
        | layout
    )
    given = {"model": model, "args": args, "train_dataset": dataset(), "eval_dataset": dataset(6)}
    given["processing_class"] = AutoTokenizer.from_pretrained(folder)
    trainer = (SFTTrainer if flat is None else FlatSFTTrainer)(**given)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return [figure for entry in logs for figure in (entry["loss"], entry["grad_norm"])], trainer


@pytest.fixture(scope="module")
def padded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[float], Any]:
    return trained(folder, tmp_path_factory.mktemp("padded"), None)


@pytest.mark.parametrize(
    ("flat", "chosen"),
    [
        ({}, {}),
        ({"cut_cross_entropy": False}, {}),
        ({"varlen": False}, {}),
        ({"tokens_per_pass": 64}, {}),
        ({"tokens_per_pass": 1}, {}),
        ({"fill_batch_to": 64}, {}),
        ({}, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}),
        ({"tokens_per_pass": 30}, {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}),
        ({"tokens_per_pass": 64}, {"gradient_checkpointing": True}),
        ({}, {"dataloader_num_workers": 1}),
    ],
    ids=str,
)
def test_every_layout_and_split_gives_the_same_steps(
    folder: Path, tmp_path: Path, padded: tuple[list[float], Any], flat: dict[str, Any], chosen: dict[str, Any]
) -> None:
    found, _ = trained(folder, tmp_path, dict(flat), **chosen)
    assert found == pytest.approx(padded[0], rel=2e-4)


@pytest.mark.parametrize(
    "chosen",
    [
        {},
        {"max_grad_norm": 0.0},
        {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4, "max_steps": 6, "eval_strategy": "epoch"},
    ],
    ids=["clipped", "not clipped", "over epochs"],
)
def test_what_a_trainer_does_between_passes_is_what_transformers_does(
    folder: Path, tmp_path: Path, chosen: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = {"include_num_input_tokens_seen": "all"} | chosen
    figures, quick = trained(folder, tmp_path / "quick", {}, **counted)
    for name in [name for name, value in vars(QuickSteps).items() if callable(value)]:
        monkeypatch.delattr(QuickSteps, name)
    theirs, whole = trained(folder, tmp_path / "whole", {}, **counted)
    assert figures == theirs
    assert quick.state.num_input_tokens_seen == whole.state.num_input_tokens_seen > 0
    assert quick.state.total_flos == whole.state.total_flos > 0
    for one, other in zip(quick.model.parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(one, other)
    assert "zero_grad" not in vars(quick.model), "the model is as it was"


class Recorded:
    """Stands for a recording where there is no GPU: fixed shapes, and every result in the same memory."""

    made: list[Any] = []

    def __init__(self, whole: Any, samples: Any) -> None:
        self.whole, self.shapes = whole, [each.shape for each in samples]
        Recorded.made.append(self)

    def __call__(self, *given: Any) -> Any:
        assert [each.shape for each in given] == self.shapes
        return self.whole(*given)


@pytest.mark.parametrize("cut", [True, False])
@pytest.mark.parametrize("chosen", [{}, {"per_device_train_batch_size": 1, "gradient_accumulation_steps": 4}], ids=str)
def test_replayed_layers_teach_the_same(
    folder: Path, tmp_path: Path, padded: tuple[list[float], Any], chosen: Any, cut: bool, monkeypatch: Any
) -> None:
    from finetune.kernels import graphs

    monkeypatch.setattr(graphs, "_recorder", lambda: Recorded)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr("finetune.kernels.trainer.STEP", 32)
    Recorded.made.clear()
    flat = {"cuda_graphs": True, "tokens_per_pass": 64, "cut_cross_entropy": cut}
    found, trainer = trained(folder, tmp_path, flat, **chosen)
    assert found == pytest.approx(padded[0], rel=2e-4)
    assert trainer.remarks == []
    # A pass is 32, 64 or 96 tokens of 16 documents.
    assert 1 <= len(Recorded.made) <= 3
    # As the largest batch is tried, before there is an epoch.
    assert trainer.training_step(trainer.model, next(iter(trainer.get_train_dataloader()))) > 0


@pytest.mark.parametrize("cut", [True, False])
def test_all_weights_learn_the_same(folder: Path, tmp_path: Path, cut: bool) -> None:
    theirs, trainer = trained(folder, tmp_path / "a", None, adapted=False)
    ours, flat = trained(folder, tmp_path / "b", {"cut_cross_entropy": cut}, adapted=False)
    assert ours == pytest.approx(theirs, rel=2e-4)
    for (name, weight), other in zip(flat.model.named_parameters(), trainer.model.parameters(), strict=True):
        torch.testing.assert_close(weight, other, rtol=1e-2, atol=2e-5, msg=name)


def test_validation_loss_is_that_of_padded_rows(folder: Path, tmp_path: Path, padded: tuple[list[float], Any]) -> None:
    theirs = padded[1].evaluate()["eval_loss"]
    _, trainer = trained(folder, tmp_path, {"tokens_per_pass": 16}, per_device_eval_batch_size=8)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(theirs, rel=2e-4)


@pytest.fixture(scope="module")
def experts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[float]]:
    """A mixture whose routers have a loss that counts, and its first step on padded rows."""
    folder = tiny.save_model(tmp_path_factory.mktemp("experts"))
    tokenizer = AutoTokenizer.from_pretrained(folder)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
    kinds = {"num_key_value_heads": 2, "num_local_experts": 4, "num_experts_per_tok": 2, "router_aux_loss_coef": 0.5}
    config = AutoConfig.for_model("mixtral", vocab_size=len(tokenizer), **sizes, **kinds)
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    figures, trainer = trained(folder, folder / "padded", None, adapted=False, max_steps=1)
    assert trainer.aux_loss_enabled
    return folder, figures


@pytest.mark.parametrize("cut", [True, False], ids=["cut", "whole"])
def test_the_loss_of_routers_counts_once_in_a_step(experts: Any, tmp_path: Path, cut: bool) -> None:
    folder, padded = experts
    flat, _ = trained(folder, tmp_path, {"cut_cross_entropy": cut}, adapted=False, max_steps=1)
    torch.testing.assert_close(flat, padded, rtol=1e-4, atol=1e-5)
    layout = {"cut_cross_entropy": cut, "tokens_per_pass": 40}
    several, trainer = trained(folder, tmp_path, layout, adapted=False, max_steps=1)
    torch.testing.assert_close(several, padded, rtol=1e-2, atol=1e-3)  # a loss of a pass, so not quite the same
    likely = likelihoods([(row["input_ids"], row["labels"]) for row in dataset(6)], trainer.model)
    of_tokens = sum(one.loss for one in likely) / sum(one.tokens for one in likely)
    assert trainer.evaluate()["eval_loss"] == pytest.approx(of_tokens), "a measurement is of the tokens alone"


def test_passes_are_few_and_lose_nothing() -> None:
    rows = list(dataset(12))
    batch = FlatCollator(0)(rows)
    lengths = [len(row["input_ids"]) for row in rows]
    for tokens in (1, 40, 64, 200, 10_000):
        passes = list(passes_of(batch, tokens))
        learned = torch.cat([one["targets"] for one in passes])
        assert learned.tolist() == batch["targets"].tolist()
        assert all(sum(one["lengths"]) <= max(tokens, *lengths) for one in passes)
        assert all(
            sum(one["lengths"]) + following["lengths"][0] > tokens for one, following in itertools.pairwise(passes)
        )
    assert len(list(passes_of(batch, 10_000))) == 1


def test_packed_rows_keep_their_documents() -> None:
    row = {"input_ids": [5, 6, 7, 8, 9], "labels": [5, 6, 7, 8, 9], "seq_lengths": [2, 3]}
    batch = FlatCollator(0, pad_to=8)([row, {"input_ids": [3], "labels": [3], "seq_lengths": [1]}])
    assert batch["position_ids"].tolist() == [[0, 1, 0, 1, 2, 0, 0, 1]]
    assert batch["cu_seq_lens_q"].tolist() == [0, 2, 5, 6, 8]
    assert batch["targets"].tolist() == [6, 8, 9]
    assert batch["learned"].tolist() == [0, 2, 3]


def test_a_model_whose_documents_see_each_other_is_refused(folder: Path, tmp_path: Path) -> None:
    class Forgetful(attention_of()):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            kwargs.pop("position_ids", None)
            return super().forward(*args, **{k: v for k, v in kwargs.items() if not k.startswith(("cu_", "max_l"))})

    model = Forgetful.from_pretrained(folder)
    given = {"model": model, "train_dataset": dataset(), "processing_class": AutoTokenizer.from_pretrained(folder)}
    args = FlatSFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        report_to="none",
    )
    with pytest.raises(TrainingError, match="lets documents in one row see each other"):
        FlatSFTTrainer(args=dataclasses.replace(args, flat_or_fail=True), **given)
    trainer = FlatSFTTrainer(args=args, **given)
    assert not trainer.flat
    assert "batches are padded" in trainer.remarks[0]


def attention_of() -> Any:
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM


@pytest.mark.parametrize("kind", ["a scale", "a head trained beside an adapter", "more than that"])
def test_logits_are_made_in_pieces_where_what_makes_them_is_known(
    kind: str, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model_of("granite")
    model.config.logits_scaling = model.model.config.logits_scaling = 3.0
    scaled = kind != "more than that"
    if kind == "a head trained beside an adapter":
        model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=["lm_head"]))
    if not scaled:
        forward = type(model.lm_head).forward
        monkeypatch.setattr(model.lm_head, "forward", lambda hidden: forward(model.lm_head, hidden).relu())
    args = FlatSFTConfig(
        output_dir=str(tmp_path),
        use_cpu=True,
        bf16=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        report_to="none",
    )
    given = {"model": model, "train_dataset": dataset(), "processing_class": AutoTokenizer.from_pretrained(folder)}
    given["processing_class"].pad_token_id = 0
    trainer = FlatSFTTrainer(args=args, **given)
    assert trainer.cut == scaled
    assert trainer.head.scale == (pytest.approx(1 / 3) if scaled else 1)
    assert any("logits" in remark for remark in trainer.remarks) != scaled


def test_recordings_of_attention_in_tiles_have_no_effect_and_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(flash, "TOLD", [tiled.WHY_SINKS])
    alone = SimpleNamespace(num_processes=1)
    trainer = SimpleNamespace(flat=True, accelerator=alone, aux_loss_enabled=False, remarks=[])
    assert FlatSFTTrainer._recordings(trainer) is None
    assert trainer.remarks == ["cuda_graphs has no effect: attention in tiles asks where documents end"]
