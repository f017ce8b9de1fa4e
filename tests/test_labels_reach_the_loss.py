"""Label survival to the very loss: whatever kernel computes it and however a batch is laid out, it is the mean over
exactly the tokens that were promised after rendering."""

from pathlib import Path
from typing import Any

import pytest

from tests import tiny
from tests.test_stop_contract import TALK, tokenize

LIGER = {"use_liger_kernel": True, "liger_kernel_config": {"fused_linear_cross_entropy": True}}


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Of different lengths, so that a batch has padding; the second is cut before its end token."""
    examples = tokenize(end_pads(), TALK, TALK).examples
    return [
        {"input_ids": one.input_ids[: len(one.input_ids) - cut], "labels": one.labels[: len(one.labels) - cut]}
        for one, cut in zip(examples, (0, 9), strict=True)
    ]


def end_pads() -> Any:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.pad_token = "<|im_end|>"
    return tokenizer


@pytest.mark.parametrize("flat", [False, True], ids=["padded", "flat"])
@pytest.mark.parametrize(
    "loss",
    [
        pytest.param({"loss_type": "nll"}, id="nll"),
        pytest.param({"loss_type": "chunked_nll"}, id="chunked"),
        pytest.param(LIGER, id="liger", marks=pytest.mark.gpu),
    ],
)
def test_the_loss_is_that_of_exactly_the_promised_tokens(
    loss: dict[str, Any], flat: bool, rows: list[dict[str, Any]], tiny_models: dict[str, Path], tmp_path: Path
) -> None:
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import SFTConfig, SFTTrainer

    on_gpu = "use_liger_kernel" in loss
    model = AutoModelForCausalLM.from_pretrained(tiny_models["chatml"]).to("cuda" if on_gpu else "cpu").eval()
    losses, count = 0.0, 0
    with torch.no_grad():
        for row in rows:  # each by itself: no padding, no neighbour
            logits = model(torch.tensor([row["input_ids"]], device=model.device)).logits[0, :-1].float()
            labels = torch.tensor(row["labels"][1:], device=model.device)
            learned = labels != -100
            losses += float(torch.nn.functional.cross_entropy(logits[learned], labels[learned], reduction="sum"))
            count += int(learned.sum())
    args = SFTConfig(
        str(tmp_path),
        per_device_train_batch_size=2,
        report_to="none",
        use_cpu=not on_gpu,
        bf16=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        max_length=None,
        padding_free=flat,
        **loss,
    )
    data = Dataset.from_list(rows)
    trainer = SFTTrainer(model, args, train_dataset=data, processing_class=end_pads())
    model.eval()
    batch = trainer.data_collator(rows)
    assert ("position_ids" in batch) == flat
    measured = trainer.compute_loss(model, {key: value.to(model.device) for key, value in batch.items()})
    assert float(measured) == pytest.approx(losses / count, rel=1e-4)
