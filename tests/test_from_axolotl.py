"""Files that were written for Axolotl: what they ask for in its own way is honoured, and what they leave unsaid and
mean otherwise there is told."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.errors import RecipeError
from finetune.exporting.naming import named
from finetune.exports_planned import export_finished
from finetune.judge import judgements
from finetune.machine import Machine, assumed
from finetune.recipe.load import Checked, load_recipe
from finetune.resolve import resolve
from tests.test_upgrade import Run

RECIPE = "base_model: m\noutput_dir: o\ndatasets: [{path: org/data, type: alpaca}]\n"
SAID = "lr_scheduler: cosine\nwarmup_steps: 10\nsequence_len: 512\nsave_strategy: epoch\n"
AXOLOTLS = "xformers_attention:\n"
"""A line that only Axolotl's files have, switched off as it mostly is."""


def check(tmp_path: Path, text: str) -> Checked:
    (tmp_path / "r.yaml").write_text(text)
    return load_recipe(tmp_path / "r.yaml")


def left_unsaid(checked: Checked) -> list[str]:
    return [note.message.split("`")[1] for note in checked.notes if note.code == "FT032"]


def sharding(text: str, tmp_path: Path) -> dict[str, Any]:
    """What the trainer is told of FSDP."""
    plan = resolve(check(tmp_path, RECIPE + SAID + text).recipe, Machine(packages=assumed().packages))
    config = next(call for call in plan.stage("train") if "fsdp_config" in call.arguments)
    assert config.arguments["fsdp"] is True
    return dict(config.arguments["fsdp_config"])


def test_defaults_that_are_others_with_axolotl_are_told_in_its_files_alone(tmp_path: Path) -> None:
    told = ["lr_scheduler", "warmup_steps", "sequence_len", "save_strategy"]
    assert left_unsaid(check(tmp_path, RECIPE + AXOLOTLS)) == told
    assert left_unsaid(check(tmp_path, RECIPE + "optim: sgd\n")) == told
    assert left_unsaid(check(tmp_path, RECIPE)) == []
    assert left_unsaid(check(tmp_path, RECIPE + SAID + AXOLOTLS)) == []
    assert left_unsaid(check(tmp_path, RECIPE + AXOLOTLS + "lr_scheduler: constant\n")) == told[2:]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("val_set_size: 0.1\nsave_steps: 100\neval_steps: 50\n", True),
        ("val_set_size: 0.1\nsave_steps: 100\neval_steps: 60\n", False),
        ("val_set_size: 0.1\nnum_epochs: 3\nsaves_per_epoch: 1\nevals_per_epoch: 4\n", True),
        ("val_set_size: 0.1\nnum_epochs: 1\nsaves_per_epoch: 1\nevals_per_epoch: 4\n", False),
        ("val_set_size: 0\nnum_epochs: 3\nsaves_per_epoch: 1\nevals_per_epoch: 1\n", False),
        ("val_set_size: 0.1\nsave_steps: 50\neval_steps: 50\nload_best_model_at_end: false\n", False),
        ("val_set_size: 0.1\nsave_steps: 50\neval_steps: 50\nearly_stopping_patience: 3\n", False),
    ],
)
def test_that_axolotl_would_go_back_to_the_best_checkpoint_is_told(tmp_path: Path, text: str, told: bool) -> None:
    said = SAID.replace("save_strategy: epoch\n", "")
    assert ("load_best_model_at_end" in left_unsaid(check(tmp_path, RECIPE + AXOLOTLS + said + text))) == told


@pytest.mark.parametrize(
    ("text", "stands"),
    [
        ("saves_per_epoch: 1\nevals_per_epoch: 4\n", False),
        ("saves_per_epoch: 4\nevals_per_epoch: 4\n", True),
        ("saves_per_epoch: 1\n", True),
        ("save_steps: 100\neval_steps: '50'\n", True),
        ("save_steps: 50\neval_steps: 100\n", False),
        ("save_strategy: epoch\neval_steps: 0.1\n", False),
    ],
)
def test_the_best_checkpoint_needs_checkpoints_that_are_measured(tmp_path: Path, text: str, stands: bool) -> None:
    """The trainer's configuration would refuse it, once the model is loaded."""
    text = f"{RECIPE}val_set_size: 0.1\nnum_epochs: 3\nload_best_model_at_end: true\n{text}"
    if stands:
        check(tmp_path, text)
    else:
        with pytest.raises(RecipeError, match="needs the validation rows measured whenever a checkpoint is written"):
            check(tmp_path, text)


def test_fsdp1_shares_out_by_fsdp2(tmp_path: Path) -> None:
    inside = "fsdp_limit_all_gathers: true, fsdp_offload_params: true, fsdp_sharding_strategy: SHARD_GRAD_OP, "
    inside += "fsdp_transformer_layer_cls_to_wrap: 'ALayer,BLayer', fsdp_state_dict_type: SHARDED_STATE_DICT"
    told = sharding(f"fsdp: [full_shard, auto_wrap]\nfsdp_config: {{{inside}}}\n", tmp_path)
    assert (told["version"], told["reshard_after_forward"], told["cpu_offload"]) == (2, False, True)
    assert told["transformer_layer_cls_to_wrap"] == ["ALayer", "BLayer"]


@pytest.mark.parametrize(
    ("text", "key", "value"),
    [
        ("fsdp: full_shard offload\n", "cpu_offload", True),
        ("fsdp: [shard_grad_op, auto_wrap]\n", "reshard_after_forward", False),
        ("fsdp_version: 1\nfsdp_config: {offload_params: true}\n", "cpu_offload", True),
        ("fsdp_config: {fsdp_version: 2, offload_params: true}\n", "cpu_offload", True),
        ("fsdp_version: 2\nfsdp_config: {sharding_strategy: FULL_SHARD}\n", "reshard_after_forward", True),
    ],
)
def test_each_way_to_ask_for_fsdp_is_understood(tmp_path: Path, text: str, key: str, value: Any) -> None:
    assert sharding(text, tmp_path)[key] == value


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("fsdp: [hybrid_shard, auto_wrap]\n", "`fsdp: hybrid_shard` has no counterpart"),
        ("fsdp_version: 2\nfsdp_config: {sharding_strategy: HYBRID_SHARD}\n", "write `reshard_after_forward: true`"),
        (
            "fsdp_version: 2\nfsdp_config: {sharding_strategy: FULL_SHARD, reshard_after_forward: false}\n",
            "say different things; keep `reshard_after_forward`",
        ),
        ("fsdp_config: {fsdp_offload_params: true, offload_params: false}\n", "say the same thing"),
        ("model_config: {output_router_logits: true, vocab_size: 8}\n", "Change config.json of a local copy"),
        ("model_config: {output_router_logits: true}\nrl: dpo\n", "Change config.json of a local copy"),
        ("model_type: AutoModelForSequenceClassification\n", "is no class that learns text here"),
        ("plugins: [axolotl.integrations.grokfast.GrokfastPlugin]\n", "no code is loaded that a recipe names"),
    ],
)
def test_what_has_no_counterpart_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(RecipeError, match=says.replace("[", r"\[")):
        check(tmp_path, RECIPE + text)


def test_four_bits_in_parts_are_stored_as_axolotl_stores_them(tmp_path: Path) -> None:
    text = (
        "adapter: qlora\nload_in_4bit: true\nfsdp: [full_shard]\nfsdp_config: {fsdp_cpu_ram_efficient_loading: true}\n"
    )
    recipe = check(tmp_path, RECIPE + text).recipe
    assert recipe.bnb_config_kwargs and recipe.bnb_config_kwargs.bnb_4bit_quant_storage == "bfloat16"
    recipe = check(tmp_path, RECIPE + text + "bf16: false\nfp16: true\n").recipe
    assert recipe.bnb_config_kwargs and recipe.bnb_config_kwargs.bnb_4bit_quant_storage == "float16"


def test_ligers_loss_on_weights_in_parts_is_the_one_that_needs_no_whole_output_layer(tmp_path: Path) -> None:
    recipe = check(tmp_path, RECIPE + "fsdp_version: 2\nliger_fused_linear_cross_entropy: true\n").recipe
    assert recipe.cut_cross_entropy and not recipe.liger_fused_linear_cross_entropy


@pytest.mark.parametrize(
    "text",
    [
        "model_config: {output_router_logits: true}\n",
        "reward_model: true\nmodel_type: AutoModelForSequenceClassification\n",
        "gptq: true\ngptq_groupsize: 128\ngptq_disable_exllama: true\n",
        "model_type: GPT2LMHeadModel\n",
        "plugins: [axolotl.integrations.liger.LigerPlugin, axolotl.integrations.swanlab.SwanLabPlugin]\n",
    ],
)
def test_what_asks_for_what_happens_anyway_is_accepted(tmp_path: Path, text: str) -> None:
    entry = RECIPE.replace(", type: alpaca", "") if "reward_model" in text else RECIPE
    check(tmp_path, entry + text)


def test_upgrade_says_what_the_file_leaves_unsaid_since_afterwards_nothing_shows_whose_it_was(
    tmp_path: Path, finetune: Run
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE + "optim: sgd\n")
    code, _, err = finetune("upgrade", path)
    assert code == 0 and "`lr_scheduler` is not written: linear here, and cosine with Axolotl" in err
    assert not left_unsaid(load_recipe(path))


def test_routers_whose_loss_counts_here_and_not_with_axolotl_are_told(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "mixtral", "router_aux_loss_coef": 0.02}')
    said = []
    for more in ("", "model_config: {output_router_logits: true}\n"):
        text = RECIPE.replace("base_model: m", f"base_model: {tmp_path}") + SAID + AXOLOTLS + more
        found = judgements(check(tmp_path, text), (assumed(),))
        said.append([note.severity for note in found if "routers" in note.message and note.code == "FT032"])
    assert said == [["note"], []]


@pytest.mark.parametrize(
    ("packing", "says"),
    [("", "no more than its beginning"), ("sample_packing: true\n", "lets them overlap by 256 tokens")],
)
def test_that_long_texts_are_cut_otherwise_is_told(tmp_path: Path, packing: str, says: str) -> None:
    checked = check(tmp_path, "base_model: m\noutput_dir: o\npretraining_dataset: org/texts\nmax_steps: 9\n" + packing)
    assert any(says in note.message for note in checked.notes)


def test_that_sharegpt_without_a_template_was_vicunas_is_told(tmp_path: Path) -> None:
    rows = "datasets: [{path: org/data, type: sharegpt}]\n"
    for more, told in (("", True), ("chat_template: chatml\n", False)):
        checked = check(tmp_path, f"base_model: m\noutput_dir: o\n{rows}{more}")
        assert any("chat_template: vicuna" in note.message for note in checked.notes) == told


def test_that_conversation_brought_a_system_message_is_told(tmp_path: Path) -> None:
    rows = "datasets: [{path: org/data, type: sharegpt, conversation: chatml}]\n"
    for more, told in (("", True), ("default_system_message: Be brief.\n", False)):
        checked = check(tmp_path, f"base_model: m\noutput_dir: o\n{rows}{more}")
        assert any("`You are a helpful assistant.`" in note.message for note in checked.notes) == told


def test_a_run_says_how_it_gets_to_its_place_on_the_hub_and_push_knows_the_place(tmp_path: Path) -> None:
    checked = check(tmp_path, RECIPE + AXOLOTLS + "hub_model_id: me/mine\nhub_strategy: every_save\n")
    assert "hub_model_id" in left_unsaid(checked)
    plan, said = resolve(checked.recipe, assumed()), []
    export_finished(plan, SimpleNamespace(say=said.append))
    assert said == ["nothing was published; this sends it to me/mine: finetune push o"]
    assert named(plan) == "me/mine"
