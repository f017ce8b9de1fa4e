"""Keys that change how a run goes do so in a real run, not only in the plan."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.backends.trust import digest_of
from finetune.errors import ModelError, TrainingError


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    from safetensors.torch import load_file

    found = [*folder.glob("adapter/*.safetensors"), *folder.glob("model/*.safetensors")]
    return load_file(found[0])


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("bf16", [False, True])
def test_a_new_token_is_learned_and_the_run_can_be_talked_to(
    write_recipe: Any, finetune: Any, tmp_path: Path, bf16: bool
) -> None:
    path = write_recipe(tokens=["<tool>"], lora_modules_to_save=["embed_tokens", "lm_head"], bf16=bf16)
    code, _, err = finetune(path)
    assert code == 0, err
    saved = weights_of(tmp_path / "run")
    assert any("embed_tokens" in name for name in saved)
    tokenizer = json.loads((tmp_path / "run" / "adapter" / "tokenizer.json").read_text())
    assert "<tool>" in [token["content"] for token in tokenizer["added_tokens"]]
    assert finetune("chat", tmp_path / "run", "--prompt", "hello")[0] == 0


def test_adapter_keys_shape_the_adapter(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(
        lora_r=4,
        lora_target_modules=["q_proj", "v_proj"],
        lora_rank_pattern={"v_proj": 2},
        peft_layers_to_transform=[0],
        peft_use_dora=True,
    )
    code, _, err = finetune(path)
    assert code == 0, err
    ranks = {name: tensor.shape[0] for name, tensor in weights_of(tmp_path / "run").items() if "lora_A" in name}
    assert all("layers.0." in name for name in ranks)
    assert {("v_proj" in name, rank) for name, rank in ranks.items()} == {(False, 4), (True, 2)}
    assert any("lora_magnitude_vector" in name for name in weights_of(tmp_path / "run"))


def test_only_unfrozen_parameters_change(write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any) -> None:
    from safetensors.torch import load_file

    path = write_recipe(adapter=None, unfrozen_parameters=[r"model\.layers\.1\."], tf32=None)
    code, _, err = finetune(path)
    assert code == 0, err
    before = load_file(next(tiny_models["chatml"].glob("*.safetensors")))
    after = weights_of(tmp_path / "run")
    changed = {name for name, tensor in after.items() if not torch.equal(tensor.float(), before[name].float())}
    assert changed and all(name.startswith("model.layers.1.") for name in changed)


def test_the_cosine_ends_where_the_recipe_says(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    path = write_recipe(lr_scheduler="cosine", cosine_min_lr_ratio=0.5, max_steps=8)
    assert finetune(path)[0] == 0
    rates = [entry["learning_rate"] for entry in metrics(tmp_path / "run") if "learning_rate" in entry]
    assert rates[0] == pytest.approx(1e-3) and 0.5e-3 < rates[-1] < 0.6e-3


def test_a_loss_above_the_watchdogs_threshold_ends_the_run(write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune(write_recipe(loss_watchdog_threshold=0.01, loss_watchdog_patience=2, max_steps=9))
    assert code == TrainingError.exit_code
    assert "loss_watchdog_threshold" in err and "until step 2" in err


@pytest.mark.parametrize(
    "begun", [pytest.param(True, marks=pytest.mark.slow, id="from before"), pytest.param(False, id="anew")]
)
def test_a_loss_that_really_rises_ends_the_run_and_names_the_checkpoint_of_before(
    begun: bool, write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    """A huge learning rate, from the first step on or after a gentle beginning."""
    rising = {"learning_rate": 2.0, "max_grad_norm": 0, "adapter": None, "optimizer": "sgd"}
    course = {"warmup_steps": 30 if begun else 0, "lr_scheduler": "constant_with_warmup", "max_steps": 14}
    watched = {"loss_watchdog_threshold": 5.95, "loss_watchdog_patience": 2, "save_steps": 1 if begun else 4}
    path = write_recipe(**(rising | course | watched))
    code, _, err = finetune(path)
    assert code == TrainingError.exit_code and "loss_watchdog_threshold: 5.95 for 2 lines" in err
    assert json.loads((tmp_path / "run" / "run.json").read_text())["status"] == "failed"
    assert "failed" in finetune("runs", tmp_path)[1]
    if not begun:
        assert "begin anew, with --overwrite" in err
        return
    words = err.split("goes on from before: ")[1].split()
    assert [line["loss"] < 5.95 for line in metrics(tmp_path / "run") if "loss" in line][-3:] == [True, False, False]
    words[1] = f"output_dir={tmp_path / 'mended'}"
    code, out, err = finetune(path, *words, "learning_rate=1e-3", "max_grad_norm=1")
    assert code == 0 and "goes on after step 10 of 14" in out, err


def test_training_ends_early_and_keeps_the_best_when_validation_no_longer_improves(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe(
        val_set_size=0.2,
        eval_steps=1,
        save_steps=1,
        early_stopping_patience=2,
        metric_for_best_model="loss",
        greater_is_better=True,  # so that an ordinary falling loss counts as no improvement
        max_steps=20,
        save_total_limit=3,
    )
    code, _, err = finetune(path)
    assert code == 0, err
    steps = [entry["step"] for entry in metrics(tmp_path / "run") if "loss" in entry]
    assert max(steps) < 20


def test_rows_come_in_their_order_with_curriculum_sampling(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    losses = []
    for seed in (1, 2):
        path = write_recipe(curriculum_sampling=True, data_seed=seed, max_steps=2, lora_dropout=None)
        assert finetune(path, "--overwrite")[0] == 0
        losses.append([entry["loss"] for entry in metrics(tmp_path / "run") if "loss" in entry])
    assert losses[0] == losses[1]
    assert finetune(write_recipe(data_seed=1, max_steps=2), "--overwrite")[0] == 0
    assert [entry["loss"] for entry in metrics(tmp_path / "run") if "loss" in entry] != losses[0]


def test_plain_text_is_learned_whole_and_gone_on_with(write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    data = tmp_path / "text.jsonl"
    data.write_text("".join(json.dumps({"text": f"the sun is warm and the sea is calm {n}"}) + "\n" for n in range(20)))
    path = write_recipe(datasets=[{"path": str(data), "type": "completion"}], sample_prompts=None)
    code, out, err = finetune(path)
    assert code == 0, err
    assert "100% learned" in out + err
    assert finetune("chat", tmp_path / "run", "--prompt", "the sun")[0] == 0


def test_code_in_a_models_folder_runs_only_when_it_is_pinned(
    write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any
) -> None:
    model = tmp_path / "model"
    shutil.copytree(tiny_models["chatml"], model)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"auto_map": {"AutoModelForCausalLM": "mine.Mine"}}))
    (model / "mine.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\n"
        "from transformers import LlamaForCausalLM\nclass Mine(LlamaForCausalLM): pass\n"
    )
    code, _, err = finetune(write_recipe(base_model=str(model), trust_remote_code=True))
    assert code == ModelError.exit_code and f"revision_of_model: {digest_of(model)}" in err
    assert not (tmp_path / "ran").exists()
    pinned = write_recipe(base_model=str(model), trust_remote_code=True, revision_of_model=digest_of(model))
    assert finetune(pinned)[0] == 0
    (model / "mine.py").write_text("raise SystemExit('other code')")
    assert finetune(pinned, "--overwrite")[0] == ModelError.exit_code


def test_pickled_weights_are_refused_unless_asked_for(
    write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any
) -> None:
    from safetensors.torch import load_file

    model = tmp_path / "model"
    shutil.copytree(tiny_models["chatml"], model)
    file = next(model.glob("*.safetensors"))
    torch.save(load_file(file), model / "pytorch_model.bin")
    file.unlink()
    code, _, err = finetune(write_recipe(base_model=str(model)))
    assert code == ModelError.exit_code and "allow_pickle_weights: true" in err
    assert finetune(write_recipe(base_model=str(model), allow_pickle_weights=True))[0] == 0


def test_what_a_recipe_extends_is_filled_in_where_the_run_keeps_it(
    write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    base = write_recipe()
    (tmp_path / "top.yaml").write_text("extends: recipe.yaml\nlearning_rate: 5e-4\n")
    code, _, err = finetune(tmp_path / "top.yaml", "max_steps=1")
    assert code == 0, err
    kept = tmp_path / "run" / "recipe.composed.yaml"
    assert "learning_rate: 0.0005" in kept.read_text() and "max_steps: 1" in kept.read_text()
    assert (tmp_path / "run" / "recipe.yaml").read_text() == (tmp_path / "top.yaml").read_text()
    assert finetune("validate", kept)[0] == 0
    assert base.exists()


def test_only_the_rows_behind_a_pattern_learn(
    write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any
) -> None:
    from safetensors.torch import load_file

    lines = {"adapter": None, "unfrozen_parameters": ["model.embed_tokens.weight$[100:]", "lm_head"]}
    code, _, err = finetune(write_recipe(**lines))
    assert code == 0, err
    before = load_file(next(Path(tiny_models["chatml"]).glob("*.safetensors")))
    after = load_file(next((tmp_path / "run" / "model").glob("*.safetensors")))
    changed = (before["model.embed_tokens.weight"] != after["model.embed_tokens.weight"]).any(dim=1)
    assert not changed[:100].any() and changed[100:].any()
    assert (before["model.norm.weight"] == after["model.norm.weight"]).all()
    lines["unfrozen_parameters"] = ["model.embed_tokens.weight$[100:9999]"]
    code, _, err = finetune(write_recipe(**lines), "--overwrite")
    assert code == 5 and "names rows 100 to 9999, but model.embed_tokens.weight has" in err
    code, _, err = finetune("validate", write_recipe(**lines, weight_decay=0.1))
    assert code == 3 and "`weight_decay` would also pull at the rows" in err


@pytest.mark.parametrize("key", ["lora_modules_to_save", "peft_trainable_token_indices"])
def test_new_tokens_of_a_tied_model_are_saved_loaded_and_merged_as_trained(
    key: str, write_recipe: Any, finetune: Any, tmp_path: Path, tiny_models: Any
) -> None:
    import shutil

    import torch
    from peft import PeftModel
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    base = tmp_path / "tied"
    shutil.copytree(tiny_models["chatml"], base)
    torch.manual_seed(0)
    config = LlamaConfig.from_pretrained(base)
    config.tie_word_embeddings = True
    LlamaForCausalLM(config).save_pretrained(base)
    new = len(AutoTokenizer.from_pretrained(base))
    lines: dict[str, Any] = {"lora_modules_to_save": ["embed_tokens"], "peft_ensure_weight_tying": True}
    if key == "peft_trainable_token_indices":
        lines = {key: [new]}
    path = write_recipe(base_model=str(base), tokens=["<tool>"], max_steps=4, learning_rate=1e-2, **lines)
    code, _, err = finetune(path)
    assert code == 0, err
    adapter = tmp_path / "run" / "adapter"
    assert AutoTokenizer.from_pretrained(adapter).convert_tokens_to_ids("<tool>") == new
    model = LlamaForCausalLM.from_pretrained(base)
    first = model.get_input_embeddings().weight.detach().clone()
    model.resize_token_embeddings(new + 1, mean_resizing=False)
    ids = torch.tensor([[1, 2, new, 3]])
    with torch.no_grad():
        loaded = PeftModel.from_pretrained(model, str(adapter)).eval()
        before = loaded(input_ids=ids).logits
        merged = loaded.merge_and_unload()
        assert (merged(input_ids=ids).logits - before).abs().max() < 1e-5
        merged.save_pretrained(tmp_path / "merged")
        again = LlamaForCausalLM.from_pretrained(tmp_path / "merged").eval()
        assert (again(input_ids=ids).logits - before).abs().max() < 1e-5, "input and output are still one matrix"
    assert again.get_output_embeddings().weight is again.get_input_embeddings().weight
    kept = (again.get_input_embeddings().weight[:new] == first[:new]).all()
    assert bool(kept) == (key == "peft_trainable_token_indices"), "other tokens change only where all are trained"
