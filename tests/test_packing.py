"""Rows that are put together stay what they were alone; rows that are not, are laid out with little padding."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoConfig, AutoModelForCausalLM
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from finetune.data.apart import refuse_mixed_documents
from finetune.data.packing import pack_documents
from finetune.errors import TrainingError
from tests.test_prepare import conversations, prepared, source

TINY = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
APART = {"llama": {}, "qwen3": {}, "gemma3_text": {"head_dim": 8, "sliding_window": 8}, "gpt2": {"n_embd": 32}}
MIXING: dict[str, tuple[str, dict[str, Any]]] = {
    "opt": ("sdpa", {"ffn_dim": 64, "word_embed_proj_dim": 32}),
    "bloom": ("eager", {"n_layer": 2, "n_head": 4}),
    "mamba": ("eager", {"state_size": 8}),
}


def model_of(kind: str, attention: str, **others: Any) -> Any:
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **(TINY | others))
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", APART)
def test_a_packed_document_gets_the_answers_it_gets_alone(kind: str, attention: str) -> None:
    model = model_of(kind, attention, **APART[kind])
    rng = random.Random(1)
    documents = [[rng.randrange(3, 128) for _ in range(length)] for length in (5, 17, 9, 2)]
    tokens = [token for one in documents for token in one]
    row = {"input_ids": tokens, "labels": tokens, "seq_lengths": list(map(len, documents))}
    batch = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)([row])
    with torch.no_grad():
        together = model(input_ids=batch["input_ids"], position_ids=batch["position_ids"], use_cache=False).logits[0]
        alone = torch.cat([model(input_ids=torch.tensor([one]), use_cache=False).logits[0] for one in documents])
    assert torch.allclose(together, alone, atol=1e-5)
    refuse_mixed_documents(model)


@pytest.mark.parametrize("kind", MIXING)
def test_a_family_that_mixes_documents_is_refused(kind: str) -> None:
    attention, others = MIXING[kind]
    with pytest.raises(TrainingError, match=r"see each other .* sample_packing: false"):
        refuse_mixed_documents(model_of(kind, attention, **others))


def test_a_run_that_packs_refuses_such_a_family(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    from tests import tiny

    tokenizer = tiny.tokenizer_of("chatml")
    others = MIXING["bloom"][1] | {"vocab_size": len(tokenizer)}
    model_of("bloom", "eager", **others).save_pretrained(tmp_path / "bloom")
    tokenizer.save_pretrained(tmp_path / "bloom")
    recipe = write_recipe(base_model=str(tmp_path / "bloom"), adapter=None, sample_packing=True)
    code, _, err = finetune("train", recipe)
    assert code == 8 and "lets documents in one row see each other" in err
    code, _, err = finetune("train", recipe, "torch_compile=true", "torch_compile_backend=eager", "--overwrite")
    assert code == 8 and "lets documents in one row see each other" in err
    code, out, err = finetune("train", write_recipe(base_model=str(tmp_path / "bloom"), adapter=None), "--overwrite")
    assert code == 0, err
    assert "batches are padded: this model (BloomForCausalLM)" in out


def test_batch_flattening_trains_the_same_without_padding(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    import json

    losses = []
    for flat in (False, True):
        folder = tmp_path / f"run-{flat}"
        code, _, err = finetune(
            "train", write_recipe(batch_flattening=flat, output_dir=str(folder), adapter=None, learning_rate=1e-2)
        )
        assert code == 0, err
        lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        losses.append([line["loss"] for line in lines if "loss" in line])
    assert losses[0] == pytest.approx(losses[1], abs=2e-3)


def chatlike(count: int, limit: int, seed: int = 0) -> Any:
    lengths = numpy.random.default_rng(seed).lognormal(6.2, 0.9, count)
    return numpy.clip(lengths, 16, limit).astype(int)


@pytest.mark.parametrize("limit", [2048, 4096, 8192])
def test_rows_of_chat_like_lengths_are_at_least_98_percent_full(limit: int) -> None:
    lengths = chatlike(5000, limit)
    packed = pack_documents(purpose="train", sequence_len=limit, lengths=lengths)
    assert packed.fill >= 0.98
    again = pack_documents(purpose="train", sequence_len=limit, lengths=lengths)
    assert (packed.order == again.order).all() and (packed.bounds == again.bounds).all()


@settings(max_examples=40, deadline=None)
@given(lengths=st.lists(st.integers(1, 64), min_size=1, max_size=80))
def test_every_document_is_packed_once_and_whole(lengths: list[int]) -> None:
    packed = pack_documents(purpose="train", sequence_len=64, lengths=lengths)
    assert sorted(packed.order.tolist()) == list(range(len(lengths)))
    rows = [packed.order[start:end] for start, end in zip(packed.bounds, [*packed.bounds[1:], None], strict=True)]
    assert all(sum(lengths[one] for one in row) <= 64 for row in rows)


def test_packing_conserves_every_trained_token(tmp_path: Path) -> None:
    made = prepared(tmp_path / "cache", [source(conversations(tmp_path / "d.jsonl", 60))])
    documents = made.documents("train")
    packed = pack_documents(purpose="train", sequence_len=96, lengths=documents.lengths)
    plain, together = made.dataset("train"), made.dataset("train", packed)

    def learned(rows: Any) -> list[int]:
        return sorted(token for row in rows for token in row["labels"] if token != -100)

    assert learned(together) == learned(plain) and len(learned(plain)) == made.counted["train"].trained_tokens
    assert sorted(parts(together)) == sorted(row["input_ids"] for row in plain)


def parts(rows: Any) -> list[list[int]]:
    """The documents of packed rows, where their lengths say they are."""
    found = []
    for row in rows:
        ends = numpy.cumsum([0, *row["seq_lengths"]])
        found += [row["input_ids"][start:end] for start, end in itertools.pairwise(ends)]
        assert ends[-1] == len(row["input_ids"])
    return found


def padding(rows: Any, batches: list[list[int]], flat: bool = False) -> float:
    """Share of what the batches hold that is padding."""
    collator = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=flat)
    size = tokens = 0
    for batch in batches:
        found = [{name: rows[number][name] for name in ("input_ids", "labels")} for number in batch]
        size += collator(found)["input_ids"].numel()
        tokens += sum(len(row["input_ids"]) for row in found)
    return 1 - tokens / size


def test_grouping_by_length_and_flattening_leave_little_padding(tmp_path: Path) -> None:
    from transformers.trainer_pt_utils import LengthGroupedSampler

    made = prepared(tmp_path / "cache", [source(conversations(tmp_path / "d.jsonl", 320))])
    rows = made.dataset("train")
    assert list(rows["length"]) == [len(row["input_ids"]) for row in rows]

    def batches(order: Any) -> list[list[int]]:
        numbers = list(order)
        return [numbers[start : start + 4] for start in range(0, len(numbers), 4)]

    grouped = LengthGroupedSampler(4, lengths=list(rows["length"]), generator=torch.Generator().manual_seed(0))
    shuffled = padding(rows, batches(torch.randperm(len(rows)).tolist()))
    assert padding(rows, batches(grouped)) < 0.05 < shuffled
    assert padding(rows, batches(range(len(rows))), flat=True) == 0
