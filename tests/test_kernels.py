"""The faster arithmetic gives what it stands in for: loss, gradients and weights, on several families of models."""

import copy
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig

from finetune import pieces
from finetune.errors import ModelError
from finetune.kernels import attention, lora, loss, tiled
from finetune.kernels.head import Head, head_of
from tests import tiny
from tests.memory_oracle import Living

SMALL = {
    "vocab_size": 96,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {},
    "qwen2": {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 1},
    "qwen3": {"head_dim": 16},
    "mistral": {"sliding_window": 8},
    "phi3": {},
    "gemma": {"head_dim": 16},
    "gemma3_text": {"head_dim": 16, "sliding_window": 8},
    "olmo2": {},
    "granite": {},
    "smollm3": {},
}
LENGTHS = (13, 1, 21, 9)


def model_of(family: str) -> Any:
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | FAMILIES[family])
    return AutoModelForCausalLM.from_config(config, attn_implementation="sdpa").eval()


def rows_of(lengths: tuple[int, ...] = LENGTHS) -> list[torch.Tensor]:
    made = torch.Generator().manual_seed(1)
    return [torch.randint(3, 96, (length,), generator=made) for length in lengths]


def end_to_end(rows: list[torch.Tensor]) -> dict[str, Any]:
    lengths = torch.tensor([len(row) for row in rows])
    return {
        "input_ids": torch.cat(rows)[None],
        "position_ids": torch.cat([torch.arange(len(row)) for row in rows])[None],
        "cu_seq_lens_q": torch.nn.functional.pad(lengths.cumsum(0), (1, 0)).int(),
        "max_length_q": int(lengths.max()),
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool),
    }


@pytest.mark.parametrize("family", FAMILIES)
def test_a_document_among_others_is_read_as_if_it_were_alone(family: str) -> None:
    model = model_of(family)
    rows = rows_of()
    with torch.no_grad():
        alone = torch.cat([model(input_ids=row[None]).logits[0] for row in rows])
        assert attention.take(model=model) == ""
        together = model(**end_to_end(rows)).logits[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_padded_rows_and_a_cache_are_read_as_before() -> None:
    model = model_of("llama")
    ids = torch.stack(rows_of((12, 12)))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    asked = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    before, answer = model(input_ids=ids, attention_mask=mask).logits, model.generate(**asked)
    assert attention.take(model=model) == ""
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, before)
    assert model.generate(**asked).tolist() == answer.tolist()


UNUSUAL = {
    "gemma2": {"attn_logit_softcapping": 0.2},
    "vaultgemma": {"attn_logit_softcapping": 0.2},
    "gpt_oss": {
        "num_local_experts": 2,
        "num_experts_per_tok": 2,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "granite_swa": {},
}
WIDER = {"head_dim": 16, "sliding_window": 8, "initializer_range": 0.3}


def unusual_model(family: str, attention: str) -> Any:
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | WIDER | UNUSUAL[family])
    return AutoModelForCausalLM.from_config(config, attn_implementation=attention).eval()


@pytest.mark.parametrize("tile", [6, tiled.TILE])
@pytest.mark.parametrize("family", UNUSUAL)
def test_bounds_and_sinks_are_kept_in_flat_and_padded_rows_gradients_and_answers(
    family: str, tile: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled, "SMALL", tile)
    wanted = unusual_model(family, "eager")
    model = unusual_model(family, "sdpa" if type(wanted)._supports_sdpa else "eager")
    rows = rows_of()
    alone = torch.cat([wanted(input_ids=row[None]).logits[0] for row in rows])
    if type(wanted)._supports_sdpa:
        unbounded = torch.cat([model(input_ids=row[None]).logits[0] for row in rows])
        assert (unbounded - alone).abs().max() > 1e-2, "or the bound is none"
        attention.keep_bound(model, chosen=False)
    assert attention.take(model=model) == ""
    together = model(**end_to_end(rows)).logits[0]
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)
    together.logsumexp(-1).sum().backward()
    alone.logsumexp(-1).sum().backward()
    for (name, ours), theirs in zip(model.named_parameters(), wanted.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None), name
        if ours.grad is not None:
            assert (ours.grad - theirs.grad).norm() <= 1e-3 * theirs.grad.norm(), name
    ids = torch.stack(rows_of((12, 12)))
    mask = torch.ones_like(ids)
    mask[0, :5] = 0
    asked = {"input_ids": ids, "attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "pad_token_id": 0}
    assert model.generate(**asked).tolist() == wanted.generate(**asked).tolist()
    padded = model(input_ids=ids, attention_mask=mask).logits[mask.bool()]
    torch.testing.assert_close(
        padded, wanted(input_ids=ids, attention_mask=mask).logits[mask.bool()], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("places", [[0, 5], [0, 3, 6], [0, 6, 12, 13], [0, 20], [0, 2, 20, 21, 23], [0, 1, 7, 8]])
def test_tiles_hold_each_document_whole_or_by_itself(places: list[int]) -> None:
    asked: list[int] = []
    for queries, keys in tiled.tiles(places, 6):
        assert queries.stop - queries.start <= 6 and keys.start in places
        asked += range(queries.start, queries.stop)
        first = max(place for place in places if place <= queries.start)
        assert keys.start <= first and keys.stop >= queries.stop
    assert asked == list(range(places[-1]))


def test_sdpa_that_would_leave_the_bound_out_is_refused() -> None:
    with pytest.raises(ModelError, match=r"attn_logit_softcapping 0\.2.*write attn_implementation: auto or eager"):
        attention.keep_bound(unusual_model("gemma2", "sdpa"), chosen=True)
    eager = unusual_model("gemma2", "eager")
    attention.keep_bound(eager, chosen=True)
    assert eager.config._attn_implementation == "eager"


@pytest.mark.parametrize(
    ("family", "changed", "reason"),
    [
        ("llama", {"attention_dropout": 0.1}, "attention_dropout"),
    ],
)
def test_a_model_that_needs_more_keeps_its_attention(family: str, changed: dict[str, Any], reason: str) -> None:
    from transformers import AutoConfig

    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL | changed))
    before = model.config._attn_implementation
    assert reason in attention.take(model=model)
    assert model.config._attn_implementation == before


@pytest.mark.parametrize("made", [Head(), Head(0.125), Head(2.0, 3.0)], ids=["plain", "scaled", "capped"])
@pytest.mark.parametrize("room", [1, 96 * 4 * 7, pieces.ROOM])
@pytest.mark.parametrize("trained", ["hidden", "both"])
def test_the_loss_in_pieces_is_the_loss(room: int, trained: str, made: Head, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "ROOM", room)
    torch.manual_seed(0)
    hidden, weight = torch.randn(40, 16), torch.randn(96, 16)
    targets = torch.randint(0, 96, (40,)).where(torch.rand(40) < 0.7, torch.tensor(-100))
    found = []
    for ours in (True, False):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(trained == "both")
        if ours:
            summed = loss.summed_loss(h, w, targets, made)
        else:
            logits = h @ w.T * made.scale
            logits = logits if made.cap is None else made.cap * torch.tanh(logits / made.cap)
            summed = cross_entropy(logits, targets, reduction="sum")
        (summed / 3).backward()
        found.append((summed.detach(), h.grad, w.grad))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("family", "changed", "head"),
    [
        ("llama", {}, Head()),
        ("granite", {"logits_scaling": 8.0}, Head(0.125)),
        ("cohere", {"logit_scale": 0.0625}, Head(0.0625)),
        ("gemma2", {"head_dim": 16, "final_logit_softcapping": 0.5}, Head(1.0, 0.5)),
        ("llama", {"final_logit_softcapping": 0.5}, None),
        ("nanochat", {}, Head(1.0, 15.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_model_makes_of_its_heads_products_is_found(family: str, changed: Any, head: Head | None) -> None:
    from transformers import AutoConfig

    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **SMALL | changed | {"initializer_range": 0.5})
    model = AutoModelForCausalLM.from_config(config).eval()
    ids = rows_of((40,))[0][None]
    with torch.no_grad():
        hidden = model.get_decoder()(input_ids=ids).last_hidden_state
        whole = model(input_ids=ids)
    weight = model.get_output_embeddings().weight
    assert head_of(model, hidden @ weight.T, whole.logits) == head
    if head is not None:
        own = cross_entropy(whole.logits[0], ids[0], reduction="sum")
        torch.testing.assert_close(loss.summed_loss(hidden[0], weight, ids[0], head), own)


def test_a_cap_takes_hardly_more_memory_than_none() -> None:
    hidden, weight = torch.randn(640, 16).bfloat16().requires_grad_(), torch.randn(4000, 16).bfloat16()
    peaks = []
    for made in (Head(), Head(1.0, 3.0)):
        with Living() as living:
            loss.summed_loss(hidden, weight, torch.arange(640), made).backward()
        peaks.append(living.peak)
    assert peaks[1] <= 1.05 * peaks[0]


def test_a_piece_without_anything_to_learn_costs_nothing() -> None:
    hidden = torch.randn(5, 16, requires_grad=True)
    summed = loss.summed_loss(hidden, torch.randn(96, 16), torch.full((5,), -100))
    summed.backward()
    assert summed == 0
    assert hidden.grad is not None
    assert not hidden.grad.any()


def adapted(model: Any, fused: bool, **more: Any) -> Any:
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM", **more)
    torch.manual_seed(7)
    if fused:
        lora.fuse(peft_config=config)
    wrapped = get_peft_model(model, config)
    if fused:
        lora.share_inputs(model=wrapped)
    for name, weight in wrapped.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    return wrapped.train()


def learned(model: Any, checkpointing: bool = False) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    if checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable({"use_reentrant": False})
    ids = torch.stack(rows_of((16, 16)))
    out = model(input_ids=ids, labels=ids)
    out.loss.backward()
    return out.loss.detach(), {n: p.grad for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("more", [{}, {"use_rslora": True}, {"use_dora": True}, {"lora_dropout": 0.1}], ids=str)
@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_fused_layers_learn_what_pefts_own_learn(family: str, more: dict[str, Any], checkpointing: bool) -> None:
    model = model_of(family)
    found = []
    for fused in (True, False):
        one = adapted(copy.deepcopy(model), fused, **more)
        kinds = {type(part).__name__ for part in one.modules()}
        assert ("FusedLinear" in kinds) == fused
        torch.manual_seed(3)
        found.append(learned(one, checkpointing))
    (ours, ours_grads), (theirs, their_grads) = found
    torch.testing.assert_close(ours, theirs)
    assert ours_grads.keys() == their_grads.keys()
    assert len(ours_grads) >= 28
    for name, grad in ours_grads.items():
        torch.testing.assert_close(grad, their_grads[name], rtol=1e-3, atol=1e-5)


def test_layers_of_one_input_are_computed_together_and_others_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    model = adapted(model_of("llama"), True)
    sizes: list[int] = []
    products = lora._products
    monkeypatch.setattr(lora, "_products", lambda layers, x: sizes.append(len(layers)) or products(layers, x))
    learned(model)
    # In each block: query, key and value; the output; gate and up; down.
    assert sizes == [3, 1, 2, 1] * SMALL["num_hidden_layers"]
    block = next(part for part in model.modules() if hasattr(part, "gate_proj"))
    one, other = torch.randn(1, 4, SMALL["hidden_size"]), torch.randn(1, 4, SMALL["hidden_size"])
    alone = block.up_proj(other)
    for _ in range(lora.Together.MISSES + 1):
        block.gate_proj(one)
        torch.testing.assert_close(block.up_proj(other), alone)
    sizes.clear()
    block.gate_proj(one)
    assert sizes == [1], "layers that are given inputs of their own go separate ways"


@pytest.mark.parametrize("bits", [4, 8])
def test_fused_layers_learn_on_quantized_weights(bits: int, tmp_path: Any) -> None:
    from finetune.backends.transformers import keep_cpu_weights_as_loaded

    tiny.save_model(tmp_path)
    quantized = BitsAndBytesConfig(load_in_4bit=bits == 4, load_in_8bit=bits == 8)
    found, kinds = [], set()
    for fused in (True, False):
        model = AutoModelForCausalLM.from_pretrained(tmp_path, quantization_config=quantized, device_map={"": "cpu"})
        keep_cpu_weights_as_loaded(model)
        one = adapted(model, fused)
        kinds |= {type(part).__name__ for part in one.modules()} if fused else set()
        found.append(learned(one))
    # Eight bits are left to peft's own layer.
    assert ("FusedLinear4bit" in kinds) == (bits == 4)
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-3, atol=1e-3)
    for name, grad in found[0][1].items():
        torch.testing.assert_close(grad, found[1][1][name], rtol=2e-2, atol=1e-3)


def test_what_is_saved_is_plain_lora_and_can_be_merged_and_switched_off(tmp_path: Any) -> None:
    from peft import PeftModel

    model = model_of("llama")
    plain = copy.deepcopy(model)
    fused = adapted(model, True)
    ids = rows_of((16,))[0][None]
    answer = fused(input_ids=ids).logits
    fused.eval()
    with fused.disable_adapter(), torch.no_grad():
        torch.testing.assert_close(fused(input_ids=ids).logits, plain(input_ids=ids).logits)
    fused.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(plain, tmp_path)
    assert "Fused" not in str(again)
    torch.testing.assert_close(again(input_ids=ids).logits, answer)
    torch.testing.assert_close(fused.merge_and_unload()(input_ids=ids).logits, answer, rtol=1e-4, atol=1e-5)


def test_half_precision_rounds_no_worse_than_pefts_own() -> None:
    model = AutoModelForCausalLM.from_config(LlamaConfig(**SMALL))
    exact = learned(adapted(copy.deepcopy(model), False))[1]
    off = {}
    for fused in (True, False):
        one = adapted(copy.deepcopy(model).bfloat16(), fused)
        with torch.autocast("cpu", torch.bfloat16):  # as the trainer does
            grads = learned(one)[1]
        off[fused] = sum((grads[name].float() - exact[name]).norm() / exact[name].norm() for name in exact)
    assert off[True] <= 1.1 * off[False]
