"""Merging: base model + adapter as one model, for every kind of adapter that can be merged; the others are refused."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, Gemma2Config, Gemma2ForCausalLM, LlamaConfig, LlamaForCausalLM

from finetune.errors import ModelError, ProofError, RunFolderError
from finetune.exporting import flow, saving
from tests import tiny
from tests.finished import finished

LORA = {"adapter": "lora", "lora_r": 4}
ENDS = ["embed_tokens", "lm_head"]
KINDS: dict[str, dict[str, Any]] = {
    "LoRA": LORA,
    "DoRA": LORA | {"peft_use_dora": True},
    "rsLoRA": LORA | {"peft_use_rslora": True},
    "PiSSA": LORA | {"peft_init_lora_weights": "pissa"},
    "IA3": {
        "adapter": "ia3",
        "ia3_target_modules": ["k_proj", "v_proj", "down_proj"],
        "ia3_feedforward_modules": ["down_proj"],
    },
    "embeddings trained": LORA | {"lora_modules_to_save": ENDS},
    "tokens added": LORA | {"lora_modules_to_save": ENDS, "tokens": ["<tool>", "<call>"]},
    "single tokens trained": LORA | {"peft_trainable_token_indices": [5, 6]},
    "layers replicated": LORA | {"peft_layer_replication": [[0, 2], [1, 2]]},
    "no adapter": {"adapter": None},
}
TIED: dict[str, dict[str, Any]] = {
    "adapter beside tied embeddings": LORA,
    "one end trained": LORA | {"lora_modules_to_save": ["embed_tokens"]},
    "both ends trained together": LORA | {"lora_modules_to_save": ENDS, "peft_ensure_weight_tying": True},
    "adapter on the head": LORA | {"lora_target_modules": ["q_proj", "lm_head"]},
    "single tokens trained": LORA | {"peft_trainable_token_indices": [5, 6]},
}


@pytest.fixture(scope="module")
def tied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model in bfloat16 whose output head is its embeddings."""
    folder = tmp_path_factory.mktemp("tied")
    tokenizer = tiny.tokenizer_of("chatml")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        pad_token_id=tokenizer.pad_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def proof_of(folder: Path) -> dict[str, Any]:
    proof: dict[str, Any] = json.loads((folder / "proof.json").read_text())
    return proof


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_model_is_the_base_with_its_adapter(kind: str, write_recipe: Any, finetune: Any) -> None:
    run = finished(write_recipe(**KINDS[kind]))
    code, out, err = finetune("merge", run, "--prompts", 3)
    assert code == 0, err
    proof = proof_of(run / "merged")
    figures = proof["figures"]
    assert proof["passed"] and figures["ids_equal"] == 3 and figures["top1_agreement"] == 1.0
    assert figures["max_logit_difference"] < 1e-5, "float32 throughout: nothing but the order of sums differs"
    if kind != "no adapter":
        assert figures["max_change_by_training"] > 1e-2, "or nothing was learned that could get lost"
    assert "proven" in out


@pytest.mark.parametrize("kind", TIED)
def test_tied_embeddings_stay_one_or_become_two(kind: str, tied: Path, write_recipe: Any, finetune: Any) -> None:
    run = finished(write_recipe(base_model=str(tied), **TIED[kind]))
    assert finetune("merge", run, "--prompts", 2)[0] == 0
    assert proof_of(run / "merged")["figures"]["max_logit_difference"] < 1e-5
    two = kind in ("one end trained", "adapter on the head")
    assert ("lm_head.weight" in load_file(run / "merged" / "model.safetensors")) == two
    assert json.loads((run / "merged" / "config.json").read_text())["tie_word_embeddings"] is not two


def test_a_model_whose_attention_is_bounded_is_compared_under_the_attention_that_it_learned_with(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    tokenizer = tiny.tokenizer_of("chatml")
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=16,
        attn_logit_softcapping=0.2,
        initializer_range=0.5,
        pad_token_id=tokenizer.pad_token_id,
    )
    Gemma2ForCausalLM(config).save_pretrained(tmp_path / "bounded")
    tokenizer.save_pretrained(tmp_path / "bounded")
    run = finished(write_recipe(base_model=str(tmp_path / "bounded"), attn_implementation="eager", **LORA))
    code, _, err = finetune("merge", run, "--prompts", 2)
    assert code == 0, err
    model = AutoModelForCausalLM.from_pretrained(run / "merged", dtype="auto")
    asked = torch.arange(3, 12)[None]
    unbounded = model(asked).logits
    model.set_attn_implementation("eager")
    assert (model(asked).logits - unbounded).abs().max() > 1e-3, "or the two attentions are one"


def test_weights_keep_the_numbers_of_the_checkpoint_and_are_rounded_once(
    tied: Path, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    base = tmp_path / "half"
    shutil.copytree(tied, base)
    AutoModelForCausalLM.from_pretrained(base, dtype=torch.bfloat16).save_pretrained(base)
    run = finished(write_recipe(base_model=str(base), **LORA))
    assert finetune("merge", run, "--prompts", 2)[0] == 0
    proof = proof_of(run / "merged")
    assert proof["files"]["numbers"] == {"BF16": proof["files"]["tensors"]}
    assert proof["files"]["parameters"] == sum(
        tensor.numel() for tensor in load_file(base / "model.safetensors").values()
    )
    merged, before = (load_file(folder / "model.safetensors") for folder in (run / "merged", base))
    name = "model.layers.0.self_attn.q_proj.weight"
    adapter = load_file(run / "adapter" / "adapter_model.safetensors")
    learned = [adapter[f"base_model.model.{name.removesuffix('weight')}lora_{side}.weight"] for side in "BA"]
    scale = json.loads((run / "adapter" / "adapter_config.json").read_text())["lora_alpha"] / 4
    assert torch.equal(merged[name], (before[name].float() + scale * learned[0] @ learned[1]).to(torch.bfloat16))


@pytest.mark.parametrize("adapter", ["prompt_tuning", "prefix_tuning", "p_tuning"])
def test_learned_prompts_are_refused_by_name(adapter: str, write_recipe: Any, finetune: Any) -> None:
    run = finished(write_recipe(adapter=adapter, num_virtual_tokens=4))
    code, _, err = finetune("merge", run)
    assert code == ModelError.exit_code and f"adapter: {adapter} cannot be merged" in err
    assert not (run / "merged").exists()


def test_a_run_that_was_not_finished_is_refused(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    code, _, err = finetune("merge", tmp_path / "nowhere")
    assert code == RunFolderError.exit_code and "is not a run folder" in err
    run = finished(write_recipe(**LORA), status="failed")
    code, _, err = finetune("merge", run)
    assert code == RunFolderError.exit_code and "not finished (failed)" in err
    shutil.rmtree(run / "adapter")
    (run / "run.json").write_text('{"status": "interrupted"}')
    code, _, err = finetune("merge", run)
    assert code == RunFolderError.exit_code and "holds no finished adapter" in err


def test_a_stopped_run_whose_weights_are_saved_is_merged_with_a_word(write_recipe: Any, finetune: Any) -> None:
    run = finished(write_recipe(**LORA), status="interrupted")
    code, out, _ = finetune("merge", run, "--prompts", 1)
    assert code == 0 and "stopped before its end (step 2)" in out


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory, tiny_models: dict[str, Path]) -> Callable[[], Path]:
    """A fresh copy of one finished run, with a base model of its own."""
    import yaml

    first = tmp_path_factory.mktemp("plain")
    shutil.copytree(tiny_models["chatml"], first / "base")
    values = {
        "base_model": str(first / "base"),
        "datasets": [{"path": "d.jsonl", "type": "chat_template"}],
        "output_dir": str(first / "run"),
        "generation_max_new_tokens": 4,
    }
    (first / "recipe.yaml").write_text(yaml.safe_dump(values | LORA))
    finished(first / "recipe.yaml")

    def copy() -> Path:
        folder = tmp_path_factory.mktemp("copy")
        shutil.copytree(first / "run", folder / "run")
        shutil.copytree(first / "base", folder / "base")
        path = folder / "run" / "plan.json"
        path.write_text(path.read_text().replace(str(first / "base"), str(folder / "base")))
        return folder / "run"

    return copy


def changed(run: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    path = run / "adapter" / "adapter_model.safetensors"
    save_file(change(load_file(path)), path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {name: w for number, (name, w) in enumerate(t.items()) if number}, "it lacks"),
        (lambda t: t | {"base_model.model.model.layers.7.q.weight": torch.ones(2)}, "no place in the model for"),
        (lambda t: {name: w * float("nan") for name, w in t.items()}, "is not a number"),
        (lambda t: {name: torch.ones(3, 3) for name in t}, "does not fit the base model"),
    ],
    ids=["a tensor is missing", "a tensor too many", "not a number", "another shape"],
)
def test_a_damaged_adapter_is_refused(change: Any, said: str, plain: Any, finetune: Any) -> None:
    run = plain()
    changed(run, change)
    code, _, err = finetune("merge", run)
    assert code == ModelError.exit_code and said in err
    assert not list(run.glob(".merged*")) and not (run / "merged").exists()


def test_an_adapter_file_that_is_cut_short_is_refused(plain: Any, finetune: Any) -> None:
    run = plain()
    path = run / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    code, _, err = finetune("merge", run)
    assert code == ModelError.exit_code and "the adapter is damaged" in err


def test_a_base_model_that_is_gone_is_named_and_a_copy_may_stand_for_it(plain: Any, finetune: Any) -> None:
    run = plain()
    shutil.move(run.parent / "base", run.parent / "moved")
    code, _, err = finetune("merge", run)
    assert code == ModelError.exit_code and f"{run.parent / 'base'}" in err and "--base" in err
    assert finetune("merge", run, "--base", run.parent / "moved", "--prompts", 1)[0] == 0


def test_a_base_model_of_quantized_weights_is_refused(plain: Any, finetune: Any) -> None:
    run = plain()
    path = run.parent / "base" / "config.json"
    path.write_text(
        json.dumps(json.loads(path.read_text()) | {"quantization_config": {"quant_method": "bitsandbytes"}})
    )
    code, _, err = finetune("merge", run)
    assert code == ModelError.exit_code and "16-bit weights" in err and "--base" in err


def test_an_adapter_on_quantized_weights_is_merged_into_those_of_the_checkpoint(
    write_recipe: Any, finetune: Any
) -> None:
    run = finished(write_recipe(adapter="qlora", load_in_4bit=True, lora_r=4))
    assert finetune("merge", run, "--prompts", 2)[0] == 0
    assert proof_of(run / "merged")["files"]["numbers"].keys() == {"F32"}


def test_an_export_is_replaced_on_request_alone(plain: Any, finetune: Any, tmp_path: Path) -> None:
    run = plain()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    code, _, err = finetune("merge", run, "--output", tmp_path / "mine", "--overwrite")
    assert code == RunFolderError.exit_code and "no export" in err
    assert finetune("merge", run, "--prompts", 1)[0] == 0
    code, _, err = finetune("merge", run, "--prompts", 1)
    assert code == RunFolderError.exit_code and "--overwrite" in err
    assert finetune("merge", run, "--prompts", 1, "--overwrite")[0] == 0


def test_too_little_disk_is_said_before_anything_is_written(
    plain: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plain()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**9, 10**9, 1000))
    code, _, err = finetune("merge", run, "--prompts", 1)
    assert code == RunFolderError.exit_code and "MiB free" in err
    assert not list(run.glob(".merged*")) and not (run / "merged").exists()


def test_a_disk_that_fills_while_it_is_written_leaves_nothing(
    plain: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    run = plain()
    monkeypatch.setattr(LlamaForCausalLM, "save_pretrained", full)
    code, _, err = finetune("merge", run, "--prompts", 1)
    assert code == RunFolderError.exit_code and "is full" in err
    assert not list(run.glob(".merged*"))


def _forgets_the_adapter(adapted: Any) -> Any:
    return adapted.unload()


def test_what_is_not_what_was_trained_is_an_error_and_is_kept_aside(
    plain: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = plain()
    monkeypatch.setattr(flow, "merge", _forgets_the_adapter)
    code, _, err = finetune("merge", run, "--prompts", 2)
    assert code == ProofError.exit_code == 9 and "logits are up to" in err
    assert not (run / "merged").exists() and not proof_of(run / "merged.failed")["passed"]
    monkeypatch.undo()
    assert finetune("merge", run, "--prompts", 1)[0] == 0
    assert not (run / "merged.failed").exists()


def test_another_template_in_the_artefact_fails_the_proof(
    plain: Any, finetune: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_another_template(run: Any, model: Any, tokenizer: Any, kept: Any, folder: Path) -> Any:
        tokenizer.chat_template = tokenizer.chat_template.replace("\n", " ")
        return saving.save_merged(run, model, tokenizer, kept, folder)

    monkeypatch.setattr(flow, "save_merged", with_another_template)
    code, _, err = finetune("merge", plain(), "--prompts", 2)
    assert code == ProofError.exit_code and "2 of 2 prompts have other token ids" in err


def test_a_weight_file_that_is_not_whole_is_found(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(4, 2), "b": torch.ones(3)}, path)
    wanted = {"a": ((4, 2), "F32"), "b": ((3,), "F32")}
    assert saving.take_stock(tmp_path, wanted).parameters == 11
    for wrong in ({"a": ((4, 2), "F32")}, wanted | {"c": ((1,), "F32")}, wanted | {"b": ((3,), "BF16")}):
        with pytest.raises(ModelError, match=r"a|b|c"):
            saving.take_stock(tmp_path, wrong)
    path.write_bytes(path.read_bytes()[:-4])
    with pytest.raises(ModelError, match="damaged"):
        saving.take_stock(tmp_path, wanted)
