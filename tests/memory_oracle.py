"""What a training step of a tiny model really keeps in memory: every storage that PyTorch makes is counted while it
lives. On a CPU, with the model code, the kernels and the mixed precision that a run has."""

import weakref
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.adapters.partial import train_only
from finetune.kernels import attention
from finetune.kernels.loss import summed_loss

LEARNING = r"model\.layers\.1\."

SIZES: dict[str, Any] = {
    "hidden_size": 128,
    "intermediate_size": 384,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 64,
    "num_hidden_layers": 3,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": False,
    "pad_token_id": 0,
}


class Living(TorchDispatchMode):
    """`now`: bytes of all storages that live; `peak`: the most there were."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.seen: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(out):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor.untyped_storage())
        return out

    def _see(self, storage: Any) -> None:
        place, size = storage._cdata, storage.nbytes()
        if place in self.seen:
            return
        self.now += size
        self.peak = max(self.peak, self.now)

        def gone(_: Any) -> None:
            if self.seen.pop(place, None) is not None:
                self.now -= size

        self.seen[place] = weakref.ref(storage, gone)


def step_bytes(kind: str, tokens: int, how: str, checkpointing: bool) -> tuple[int, int]:
    """(what waits for the backward pass when the loss is there, the peak of the step), beyond the weights. `how`: lora,
    qlora (what quantization does to the other weights), plain (peft's own layers), dora, float32 (with the attention
    that a GPU has for it), part (the weights of one block alone) or full."""
    with Living() as living:
        model = _model(kind, how, checkpointing)
        start = living.peak = living.now
        ids = torch.zeros(1, tokens, dtype=torch.long)
        attention = sdpa_kernel(SDPBackend.MATH) if how == "float32" else nullcontext()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=how != "float32"), attention:
            hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
            kept = living.now - start
            loss = summed_loss(hidden[0], model.lm_head.weight, ids[0])
            del hidden
        with sdpa_kernel(SDPBackend.MATH) if how == "float32" else nullcontext():
            loss.backward()
        return kept, living.peak - start


def _model(kind: str, how: str, checkpointing: bool) -> Any:
    extra = {} if kind == "phi3" else {"head_dim": 32}
    config = AutoConfig.for_model(kind, **SIZES, **extra)
    dtype = torch.float32 if how == "float32" else torch.bfloat16
    model = AutoModelForCausalLM.from_config(config, dtype=dtype, attn_implementation="sdpa")
    attention.keep_bound(model, chosen=False)
    if how == "part":
        train_only(model, [LEARNING])
    elif how != "full":
        _adapt(model, how)
    if checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        if how not in ("full", "part"):
            model.enable_input_require_grads()
    return model.train()


def _adapt(model: Any, how: str) -> None:
    from peft import LoraConfig, get_peft_model

    from finetune.kernels.lora import fuse

    wide = how == "qlora"
    for name, weight in model.named_parameters():
        weight.requires_grad = False
        if wide and "_proj" not in name:
            weight.data = weight.data.float()
    config = LoraConfig(r=16, target_modules="all-linear", use_dora=how == "dora")
    if how not in ("plain", "dora"):
        fuse(peft_config=config)
    adapted = get_peft_model(model, config, autocast_adapter_dtype=not wide)
    for weight in adapted.parameters():
        if wide and weight.requires_grad:
            weight.data = weight.data.bfloat16()
