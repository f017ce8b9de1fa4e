"""Models of other architectures than the usual are trained as they are meant to be, or it is said why not."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM, GPT2LMHeadModel

from finetune.adapters.kept import keep_reach
from finetune.adapters.left_out import leave_out
from finetune.adapters.reach import unreached
from finetune.adapters.targets import check_names
from finetune.backends.attach import attach
from finetune.backends.few_bits import leave_readable, not_in_few_bits
from finetune.data.apart import refuse_foresight, refuse_mixed_documents
from finetune.errors import ModelError, TrainingError
from finetune.exporting.older import for_older_readers
from finetune.kernels import attention, lora
from finetune.kernels.trainer import FlatSFTConfig, FlatSFTTrainer
from finetune.plan import Call
from finetune.tried import look_at_model, quiet_routers
from tests import tiny

SIZES = {
    "vocab_size": 128, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
EXPERTS = {"num_local_experts": 4, "num_experts_per_tok": 2}
KINDS: dict[str, dict[str, Any]] = {
    "lfm2": {"layer_types": ["conv", "full_attention"]},
    "falcon_h1": {"mamba_d_ssm": 64, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
    "jamba": {"num_experts": 4, "mamba_d_state": 8, "mamba_dt_rank": 4, "attn_layer_period": 2, "attn_layer_offset": 0},
    "llama4_text": EXPERTS | {"head_dim": 8, "attention_chunk_size": 8, "intermediate_size_mlp": 64},
    "phimoe": EXPERTS,
    "mixtral": EXPERTS,
    "mamba2": {"num_heads": 8, "head_dim": 8, "state_size": 8, "n_groups": 1},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8},
    "deepseek_v3": {
        "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1, "first_k_dense_replace": 1,
        "moe_intermediate_size": 16, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8,
        "qk_rope_head_dim": 8, "v_head_dim": 8, "num_key_value_heads": 4,
    },
    "mamba": {"state_size": 8},
    "cwm": {},
    "deepseek_v32": {},
    "bert": {},
    "nemotron": {},
    "gpt2": {"attn_pdrop": 0.0, "embd_pdrop": 0.0, "resid_pdrop": 0.0},
}  # fmt: skip


def model_of(kind: str, **others: Any) -> Any:
    torch.manual_seed(0)
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **SIZES | KINDS[kind] | others)).eval()


def trainer_of(model: Any, folder: Path, **chosen: Any) -> FlatSFTTrainer:
    tokenizer = tiny.tokenizer_of("chatml")
    tokenizer.pad_token_id = 0
    rows = Dataset.from_list([{"input_ids": list(range(5, 20)), "labels": list(range(5, 20))}] * 4)
    args = FlatSFTConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, dataset_kwargs={"skip_prepare_dataset": True}, max_steps=1,
        max_length=None, report_to="none", loss_type="nll", save_strategy="no", logging_steps=1, **chosen,
    )  # fmt: skip
    return FlatSFTTrainer(model=model, args=args, train_dataset=rows, processing_class=tokenizer)


@pytest.mark.parametrize("kind", ["lfm2", "falcon_h1", "jamba"])
def test_what_a_layer_carries_over_from_the_document_before_is_found_however_little(kind: str) -> None:
    with pytest.raises(TrainingError, match=r"see each other \(\d"):
        refuse_mixed_documents(model_of(kind))


def test_layers_that_cut_a_row_into_blocks_are_found_though_their_blocks_are_long() -> None:
    model = model_of("llama4_text", attention_chunk_size=8192)
    with pytest.raises(TrainingError, match="chunked_attention, which cut a row at places of their own"):
        refuse_mixed_documents(model)


def test_a_document_that_stands_at_the_wrong_positions_is_found(tmp_path: Path) -> None:
    class Counting(GPT2LMHeadModel):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            ids = kwargs["input_ids"]
            return super().forward(*args, **kwargs | {"position_ids": torch.arange(ids.shape[1])[None]})

    torch.manual_seed(0)
    model = Counting(AutoConfig.for_model("gpt2", **SIZES | KINDS["gpt2"])).eval()
    model.transformer.wpe.weight.data *= 20
    assert attention.take(model=model) == ""
    trainer = trainer_of(model, tmp_path)
    assert not trainer.flat
    assert "batches are padded" in trainer.remarks[0]
    trainer.whole.set_attn_implementation(attention.NAME)
    with pytest.raises(TrainingError, match="reads a document that stands behind another one otherwise than alone"):
        refuse_mixed_documents(trainer.whole, trainer._laid)


def test_a_model_that_sees_what_it_is_to_predict_is_refused() -> None:
    with pytest.raises(TrainingError, match=r"BertLMHeadModel\) sees the tokens that it is to predict.*is_decoder"):
        refuse_foresight(model_of("bert"))
    refuse_foresight(model_of("bert", is_decoder=True))
    refuse_foresight(model_of("gpt2"))


@pytest.mark.parametrize(
    ("kind", "others", "why"),
    [
        ("nemotron", {}, "does not hand its attention where documents end"),
        ("gpt2", {"attn_pdrop": 0.1}, "asks for dropout, which variable-length attention does not do"),
    ],
)
def test_where_variable_length_attention_is_unfit_rows_lie_flat_with_the_models_own(
    kind: str, others: dict[str, Any], why: str, tmp_path: Path
) -> None:
    model = model_of(kind, **others)
    assert attention.take(model=model) == ""
    trainer = trainer_of(model, tmp_path, flat_or_fail=True)
    assert trainer.flat
    assert why in trainer.remarks[0]
    assert trainer.remarks[0].startswith("attention stays sdpa: ")
    ids = torch.arange(5, 35)
    with torch.no_grad():
        alone = torch.cat([model(input_ids=each[None]).logits[0] for each in ids.split([20, 10])])
        torch.testing.assert_close(model.eval()(**trainer._laid(ids, [20, 10])).logits[0], alone, rtol=1e-4, atol=1e-5)


def test_a_model_whose_code_goes_by_the_name_of_its_attention_keeps_that_name() -> None:
    model = model_of("deepseek_v32", **KINDS["deepseek_v3"], index_n_heads=2, index_head_dim=16, index_topk=4)
    assert "deepseek_sparse_attention" in attention.take(model=model)
    model.config.layer_types = ["full_attention"] * 2
    assert "computes otherwise where its attention is not called sdpa" in attention.take(model=model)
    assert model.config._attn_implementation != attention.NAME


@pytest.mark.parametrize(
    ("kind", "left", "kept"),
    [
        ("phimoe", "mlp.router", "self_attn.q_proj"),
        ("mamba2", "mixer.out_proj", "mixer.in_proj"),
        ("bamba", "mamba.out_proj", "mamba.in_proj"),
    ],
)
def test_layers_that_cannot_take_lora_are_left_out_of_all_linear(kind: str, left: str, kept: str) -> None:
    model = model_of(kind)
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    leave_out(model=model, peft_config=config)
    assert config.exclude_modules == [left]
    adapted = get_peft_model(model, config)
    names = {name for name, _ in adapted.named_modules() if name.endswith("lora_A")}
    assert any(f".{kept}." in name for name in names)
    assert not any(f".{left}." in name for name in names)
    adapted(input_ids=torch.arange(12)[None])
    assert f"LoRA leaves out {left}: " in unreached(adapted)[0]


def test_a_layer_that_cannot_take_lora_is_refused_where_it_is_named() -> None:
    config = LoraConfig(target_modules=["q_proj", "router"], task_type="CAUSAL_LM")
    with pytest.raises(ModelError, match=r"lora_target_modules: LoRA cannot be on .*mlp\.router: it gives something"):
        leave_out(model=model_of("phimoe"), peft_config=config)


def test_experts_that_no_adapter_is_on_are_told_of_with_the_key_that_reaches_them() -> None:
    def adapted(**more: Any) -> Any:
        model = model_of("phimoe")
        config = LoraConfig(target_modules="all-linear", task_type="CAUSAL_LM", **more)
        leave_out(model=model, peft_config=config)
        return get_peft_model(model, config)

    wanted = ["mlp.experts.down_proj", "mlp.experts.gate_up_proj"]
    line = unreached(adapted())[-1]
    assert "of the weights are experts in one tensor" in line
    assert line.endswith(f"lora_target_parameters: [{', '.join(wanted)}]")
    assert "experts" not in "".join(unreached(adapted(target_parameters=wanted)))


def test_a_name_of_experts_is_answered_with_the_key_that_reaches_them() -> None:
    with pytest.raises(
        ModelError, match=r"no modules, but tensors: lora_target_parameters: \[mlp\.experts\.down_proj, mlp"
    ):
        check_names(model=model_of("mixtral"), names={"lora_target_modules": ["q_proj", "gate_proj"]})


def test_what_experts_in_one_tensor_cannot_take_is_answered_with_the_keys() -> None:
    calls = (
        Call("peft.LoraConfig", {"target_modules": "all-linear", "lora_dropout": 0.1}),
        Call("peft.get_peft_model", {}, runtime=("model", "peft_config")),
    )
    with pytest.raises(ModelError, match=r"take plain LoRA alone: set lora_dropout: 0"):
        attach(model_of("mixtral"), calls)


def bare_layers(adapted: Any) -> set[str]:
    named = adapted.get_base_model().named_modules()
    return {name for name, layer in named if type(layer) is torch.nn.Linear and name.endswith("_proj")}


@pytest.mark.parametrize("targets", ["all-linear", ["q_b_proj", "gate_proj", "up_proj", "down_proj"]], ids=str)
def test_layers_that_go_by_the_names_of_experts_learn_too(targets: Any, tmp_path: Path) -> None:
    model = model_of("deepseek_v3")
    config = LoraConfig(r=2, target_modules=targets, task_type="CAUSAL_LM", init_lora_weights=False)
    lost = bare_layers(get_peft_model(copy.deepcopy(model), copy.deepcopy(config)))
    assert "model.layers.0.mlp.gate_proj" in lost, "peft reaches them by itself: finetune/adapters/kept.py may go"
    keep_reach(model=model, peft_config=config)
    adapted = get_peft_model(model, config).eval()
    assert not {name for name in bare_layers(adapted) if "mlp" in name}
    ids = torch.arange(12)[None]
    adapted.save_pretrained(tmp_path)
    again = PeftModel.from_pretrained(model_of("deepseek_v3"), str(tmp_path)).eval()
    with torch.no_grad():
        torch.testing.assert_close(again(input_ids=ids).logits, adapted(input_ids=ids).logits)


def test_a_usual_models_adapter_is_what_it_was() -> None:
    model = model_of("nemotron")
    config = LoraConfig(target_modules="all-linear")
    leave_out(model=model, peft_config=config)
    keep_reach(model=model, peft_config=config)
    assert config == LoraConfig(target_modules="all-linear")


def fused(model: Any) -> Any:
    config = LoraConfig(r=2, target_modules="all-linear", task_type="CAUSAL_LM")
    lora.fuse(peft_config=config)
    return get_peft_model(model, config)


def test_a_model_may_compute_in_what_a_fused_layer_gives_it() -> None:
    class Doubling(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = torch.nn.Linear(8, 8, bias=False)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.first(x).mul_(2)

    torch.manual_seed(0)
    config = LoraConfig(r=2, target_modules=["first"], init_lora_weights=False)
    lora.fuse(peft_config=config)
    model = get_peft_model(Doubling(), config)
    x = torch.randn(1, 3, 8)
    given = model(x)
    given.sum().backward()
    learned = [weight.grad for weight in model.parameters() if weight.requires_grad]
    assert all(grad is not None and bool(grad.any()) for grad in learned)
    torch.testing.assert_close(given, model.eval()(x), rtol=1e-5, atol=1e-6)
    with torch.no_grad():
        torch.testing.assert_close(given, model(x), rtol=1e-5, atol=1e-6)


def test_a_router_that_is_heard_by_its_name_gets_no_adapter_of_that_name() -> None:
    model = model_of("jamba")
    ids = {"input_ids": torch.arange(12)[None], "output_router_logits": True}
    with torch.no_grad():
        before = model(**ids).aux_loss
    config = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM")
    leave_out(model=model, peft_config=config)
    assert "feed_forward.router" in config.exclude_modules
    adapted = get_peft_model(model, config)
    torch.testing.assert_close(adapted(**ids).aux_loss.detach(), before)


def test_the_loss_of_routers_counts_once_a_step_in_padded_batches_too(tmp_path: Path) -> None:
    model = model_of("jamba", router_aux_loss_coef=0.5)
    trainer = trainer_of(model, tmp_path)
    assert not trainer.flat
    assert trainer.aux_loss_enabled
    rows = [{"input_ids": list(range(5, 5 + size)), "labels": list(range(5, 5 + size))} for size in (12, 7)]
    batch = trainer.data_collator(rows)
    count = torch.tensor(4 * 17)  # of four such passes
    with torch.no_grad():
        found = model(**batch, output_router_logits=True, num_items_in_batch=count)
        text = found.loss - 0.5 * found.aux_loss
        model.train()
        loss = trainer.compute_loss(model, batch, num_items_in_batch=count)
    torch.testing.assert_close(loss, text + 0.5 * found.aux_loss / 4, rtol=1e-4, atol=1e-5)


def test_who_listens_to_a_layer_hears_it_under_a_fused_one_too() -> None:
    model = fused(model_of("nemotron")).train()
    heard: list[Any] = []
    layers = [layer.base_layer for name, layer in model.named_modules() if name.endswith("q_proj")]
    for layer in layers:
        layer.register_forward_hook(lambda *given: heard.append(given))
    model(input_ids=torch.arange(12)[None])
    assert len(heard) == len(layers) == 2


def test_a_loss_of_routers_that_cannot_be_computed_is_left_out_and_said(tmp_path: Path) -> None:
    class Silent(type(model_of("mixtral"))):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            if kwargs.get("output_router_logits"):
                raise IndexError("tuple index out of range")
            return super().forward(*args, **kwargs)

    plan: Any = type("Plan", (), {"backend": "transformers"})
    for kind, coefficient, words in ((type(model_of("mixtral")), None, ""), (Silent, 0.0, "IndexError: tuple index")):
        model = kind(AutoConfig.for_model("mixtral", **SIZES | EXPERTS))
        args = FlatSFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
        said: list[str] = []
        quiet_routers(plan, model, args, said.append)
        assert args.router_aux_loss_coef == coefficient
        assert words in "".join(said)


def test_weights_that_the_model_reads_itself_are_not_put_into_4_bits(tmp_path: Path) -> None:
    from transformers import BitsAndBytesConfig

    call = Call(
        "transformers.AutoModelForCausalLM.from_pretrained",
        {"pretrained_model_name_or_path": str(tmp_path), "revision": "main", "trust_remote_code": False},
    )
    for kind, left in (("mamba", {"dt_proj", "out_proj", "x_proj"}), ("nemotron", set())):
        model_of(kind).config.save_pretrained(tmp_path)
        config = BitsAndBytesConfig(load_in_4bit=True)
        leave_readable(config, call)
        names = {name.rsplit(".", 1)[-1] for name in config.llm_int8_skip_modules or ()}
        assert {name for name in names if name.endswith("_proj")} == left


def test_experts_that_stay_in_16_bits_are_told_of() -> None:
    model = model_of("mixtral").bfloat16()
    assert not_in_few_bits(model) == ""
    model.is_quantized = True
    assert "stays in bfloat16: experts in one tensor (mlp.experts.down_proj, mlp." in not_in_few_bits(model)


def test_a_tokenizer_without_a_token_that_the_configuration_must_have_is_refused_with_the_key(tmp_path: Path) -> None:
    from finetune.backends.loaded import Loaded

    plan: Any = type("Plan", (), {"backend": "transformers"})
    tokenizer = tiny.tokenizer_of("chatml")
    args = FlatSFTConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False)
    look_at_model(plan, Loaded(model_of("nemotron"), tokenizer), args, print)
    with pytest.raises(TrainingError, match=r"no bos_token, .*CwmConfig.* under special_tokens\.bos_token"):
        look_at_model(plan, Loaded(model_of("cwm"), tokenizer), args, print)


def test_a_model_whose_own_code_fails_is_refused_in_words() -> None:
    class Broken(type(model_of("nemotron"))):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            raise RuntimeError("sizes do not match")

    with pytest.raises(TrainingError, match=r"Broken\) computes no row of tokens \(RuntimeError: sizes do not match\)"):
        refuse_foresight(Broken(model_of("nemotron").config))


def test_rotary_embeddings_that_transformers_4_does_not_know_keep_their_new_names_alone(tmp_path: Path) -> None:
    import json

    kinds = {
        "full_attention": {"rope_type": "proportional", "rope_theta": 1e6, "partial_rotary_factor": 0.25},
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
    }
    config = {"model_type": "gemma4_text", "rope_parameters": kinds}
    (tmp_path / "config.json").write_text(json.dumps(config))
    for_older_readers(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == config
    plain = {"model_type": "llama", "rope_parameters": {"rope_type": "default", "rope_theta": 5e5}}
    (tmp_path / "config.json").write_text(json.dumps(plain))
    for_older_readers(tmp_path)
    assert json.loads((tmp_path / "config.json").read_text()) == plain | {"rope_theta": 5e5, "rope_scaling": None}
