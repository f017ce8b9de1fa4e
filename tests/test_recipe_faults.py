"""What is wrong in a recipe is said all at once, each at its line, with what to write instead."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import RecipeError
from finetune.recipe.load import Checked, load_recipe

GOOD = "base_model: m\ndatasets: [{path: org/data}]\noutput_dir: o\n"


def check(tmp_path: Path, text: str, *overrides: str) -> Checked:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_recipe(path, overrides)


def faults(tmp_path: Path, text: str, *overrides: str) -> list[str]:
    with pytest.raises(RecipeError) as caught:
        check(tmp_path, text, *overrides)
    assert all(fault.code for fault in caught.value.faults)
    return [str(replace(fault, code="")).replace(f"{tmp_path}/", "") for fault in caught.value.faults]


def test_all_faults_come_at_once_in_the_order_of_the_lines(tmp_path: Path) -> None:
    text = "base_model: m\nlora_rank: 8\ndatasets:\n  - path: d\n    typ: alpaca\nlearning_rate: true\nfsdp: [a]\n"
    assert faults(tmp_path, text) == [
        "r.yaml:1:1: error: `output_dir` is missing and has no default: write output_dir: ./outputs/NAME (Axolotl's "
        "own is ./model-out)",
        "r.yaml:2:1: error: unknown key `lora_rank`; did you mean `lora_r`?",
        "r.yaml:5:5: error: unknown key `datasets.0.typ`; did you mean `type`?",
        "r.yaml:6:1: error: `learning_rate: true` should be a valid number",
        "r.yaml:7:1: error: `fsdp: a` has no counterpart in FSDP2 here: each GPU holding the whole model is what "
        "happens without it, and nothing lies between. Remove the line",
    ]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ("load_in_4bit: true\nload_in_8bit: true\nadapter: lora", "both on"),
        ("adapter: qlora", "load_in_4bit: true"),
        ("load_in_4bit: true", "needs an adapter"),
        ("bf16: true\nfp16: true", "bf16 and fp16"),
        ("warmup_steps: 5\nwarmup_ratio: 0.1", "cannot both hold"),
        ("eval_steps: 5", "no validation data"),
        ("save_strategy: steps", "needs `save_steps`"),
        ("save_strategy: epoch\nsave_steps: 5", "contradict"),
        ("chat_template: jinja", "needs the template"),
        ("chat_template: phi3.6", "did you mean `phi_35` or `phi_3`"),
        ("chat_template: Qwen-2.5", "did you mean `qwen_25`"),
        ("chat_template: mine", "no template kept here. Kept are chatml"),
        ("auto_resume_from_checkpoints: true\nresume_changed: [learning_rat]", "did you mean `learning_rate`"),
        ("auto_resume_from_checkpoints: true\nresume_changed: [libraries, xyz]", "`xyz`, which is no key; name a key"),
        ("chat_template_jinja: x", "only with"),
        ("val_set_size: 1", "ambiguous"),
        ("val_set_size: 2.5", "whole number"),
        ("learning_rate: fast", "valid number"),
        ("learning_rate: 0", "greater than 0"),
        ("learning_rate: [1]", "valid number"),
        ("num_epochs: .nan", "greater than 0|finite"),
        ("lora_r: 8.5", "valid integer"),
        ("micro_batch_size: 0", "greater than or equal to 1"),
        ("load_in_4bit: yes\nadapter: lora", "true or false"),
        ("optimizer: adamw_x", "adamw_torch_fused and adamw_8bit are usual"),
        ("deepspeed: zero3.json", "there is no such file beside the recipe"),
        ("flash_attention: true\nattn_implementation: eager", "say the same thing"),
        ("special_tokens: {pad_tokn: x}", "unknown key `special_tokens.pad_tokn`; did you mean `pad_token`?"),
        ("model_type: os.system", "no class that learns text"),
        ("unknown_and_empty:", "unknown key `unknown_and_empty`"),
        ("learning_rate: .inf", "finite number"),
        ("save_steps: 1.5", "whole number of steps"),
        ("seed: 4294967296", "less than or equal to 4294967295"),
        ("lora_target_modules: '('", "not a regular expression"),
        ("lr_scheduler: constant\nwarmup_steps: 5", "has no warm-up"),
        ("flash_attention: yes", "should be true or false"),
        ("output_dir2: ${", "`${` opens"),
        ("test_datasets: [null]", "`test_datasets.0: null` should be a mapping of keys"),
        ("test_datasets: [{path: x, message_field_role: from, message_property_mappings: 5}]", "mapping of keys"),
        ("test_datasets: [{path: x, type: alpaca, roles: {user: [me]}}]", "counts only with `type: chat_template`"),
        ("test_datasets: [{path: x, roles: {usr: [me]}}]", "'system', 'user', 'assistant', 'tool'"),
        ("test_datasets: [{path: x, roles: {user: [me], assistant: [me]}}]", "for two roles"),
        ("test_datasets: [{path: x, chat_template: jinja}]", "needs the template in `chat_template_jinja`"),
    ],
)
def test_each_mistake_says_what_to_write(tmp_path: Path, lines: str, says: str) -> None:
    found = "\n".join(faults(tmp_path, GOOD + lines))
    assert any(part in found for part in says.split("|")), found


def test_numbers_that_were_quoted_are_numbers(tmp_path: Path) -> None:
    recipe = check(tmp_path, GOOD + "learning_rate: '2e-4'\nlora_r: '8'\nnum_epochs: 3\nwarmup_steps: 10.0\n").recipe
    assert (recipe.learning_rate, recipe.lora_r, recipe.num_epochs, recipe.warmup_steps) == (2e-4, 8, 3.0, 10)


@pytest.mark.parametrize("off", ["", "null", "false", "''", "[]", "{}"])
def test_a_foreign_key_that_is_off_is_accepted(tmp_path: Path, off: str) -> None:
    assert check(tmp_path, GOOD + f"deepspeed: {off}\nfsdp_config: {off}\nwandb_watch: {off}\n").recipe


@pytest.mark.parametrize("key", ["eval_steps", "evals_per_epoch", "save_steps", "saves_per_epoch", "max_steps"])
def test_zero_means_off_where_zero_can_mean_nothing_else(tmp_path: Path, key: str) -> None:
    assert check(tmp_path, GOOD + f"{key}: 0\n").recipe


def test_a_null_value_means_not_written(tmp_path: Path) -> None:
    recipe = check(tmp_path, GOOD + "lora_r:\nspecial_tokens:\n  pad_token:\nmax_steps: ~\n").recipe
    assert recipe.lora_r == 8
    assert not {"lora_r", "special_tokens", "max_steps"} & recipe.model_fields_set


@pytest.mark.parametrize(
    ("old", "key", "value"),
    [
        ("flash_attention: true", "attn_implementation", "flash_attention_2"),
        ("sdp_attention: true", "attn_implementation", "sdpa"),
        ("lr_scheduler_type: cosine", "lr_scheduler", "cosine"),
        ("optim: sgd", "optimizer", "sgd"),
        ("val_set_size: 0.1\nevaluation_strategy: epoch", "eval_strategy", "epoch"),
    ],
)
def test_old_spellings_are_understood_with_a_note_that_shows_todays(
    tmp_path: Path, old: str, key: str, value: Any
) -> None:
    checked = check(tmp_path, GOOD + old)
    assert getattr(checked.recipe, key) == value
    assert f"{key}: {value}" in str(checked.notes[0])


def test_sharegpt_and_a_file_type_where_a_form_belongs_are_understood(tmp_path: Path) -> None:
    text = "base_model: m\noutput_dir: o\ndatasets:\n  - {path: a/b, type: sharegpt}\n  - {path: c/d, type: json}\n"
    checked = check(tmp_path, text)
    one, other = checked.recipe.datasets
    assert (one.type, one.field_messages, other.type) == ("chat_template", "conversations", None)
    spelt = [note for note in checked.notes if note.code == "FT010"]
    assert [str(note.where).rsplit("/", 1)[1] for note in spelt] == ["r.yaml:4:17", "r.yaml:5:17"]


def test_one_dataset_may_be_written_without_a_list(tmp_path: Path) -> None:
    text = "base_model: m\noutput_dir: o\ndatasets:\n  path: a/b\n  typ: x\n"
    assert faults(tmp_path, text) == ["r.yaml:5:3: error: unknown key `datasets.0.typ`; did you mean `type`?"]


def test_unpinned_remote_code_is_a_warning(tmp_path: Path) -> None:
    assert "pin `revision_of_model`" in str(check(tmp_path, GOOD + "trust_remote_code: true").notes[0])
    assert not check(tmp_path, GOOD + "trust_remote_code: true\nrevision_of_model: abc").notes


def test_overrides_pass_the_same_checks_and_say_that_they_are_overrides(tmp_path: Path) -> None:
    checked = check(tmp_path, GOOD, "learning_rate=2e-5", "datasets.0.path=x/y", "sample_prompts=[a, b]", "lora_r=null")
    assert checked.recipe.learning_rate == 2e-5
    assert checked.recipe.datasets[0].path == "x/y"
    assert checked.recipe.sample_prompts == ["a", "b"]
    assert faults(tmp_path, GOOD, "lora_rank=8")[0].startswith("override `lora_rank=8`: error: unknown key")
    assert "no item `3`" in faults(tmp_path, GOOD, "datasets.3.path=x")[0]
    assert "key=value" in faults(tmp_path, GOOD, "nonsense")[0]
    assert "not YAML" in faults(tmp_path, GOOD, "lora_target_modules=[a")[0]
    assert "unknown key `training`" in faults(tmp_path, GOOD, "training.learning_rate=1e-4")[0]
    assert faults(tmp_path, GOOD, "lora_r.x=1")[0].startswith("override `lora_r.x=1`: error: `lora_r:")
    assert "second key" in faults(tmp_path, GOOD, "output_dir=a\nlora_r: 1")[0]
    for nonsense in ("5=5", "0.1=2", "..=1", "datasets.²=1", "=5"):
        assert faults(tmp_path, GOOD, nonsense)


def test_values_may_point_at_other_values(tmp_path: Path) -> None:
    recipe = check(tmp_path, GOOD + "wandb_project: p\nwandb_name: ${output_dir}/x\n").recipe
    assert recipe.wandb_name == "o/x"
    assert "cannot be filled in" in faults(tmp_path, GOOD + "wandb_name: ${nowhere}\n")[0]


def test_a_relative_path_is_found_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.jsonl").write_text("{}\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    checked = check(tmp_path, GOOD.replace("org/data", "rows.jsonl"))
    assert Path(checked.recipe.datasets[0].path) == tmp_path / "rows.jsonl"
    missing = check(tmp_path, GOOD.replace("org/data", "gone.jsonl"))
    assert "no file `gone.jsonl`" in str(missing.notes[0])


def test_a_misspelt_key_is_told_alone_and_not_what_its_absence_breaks(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    text = "base_model: m\ndatasets: [{path: d}]\noutput_dir: o\nload_in_4bit: true\n"
    for key, count in (("adaptr", 1), ("colour", 2)):
        path.write_text(f"{text}{key}: qlora\n")
        with pytest.raises(RecipeError) as caught:
            load_recipe(path)
        assert len(caught.value.faults) == count, caught.value.faults
