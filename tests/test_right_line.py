"""A fault stands at the line to mend, also where a parser stumbles elsewhere, and one fault hides no other."""

from pathlib import Path
from typing import Any

import pytest

from finetune.errors import RecipeError
from tests.test_recipe_faults import GOOD, check, faults


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("base_model: m\nnum_epochs:3\n# a remark\noutput_dir: o\n", 2),
        ("base_model: m\nnum_epochs 3\n\n# a remark\noutput_dir: o\n", 2),
        ("base_model: m\nwandb_name: 'run\noutput_dir: o\nseed: 1\n", 2),
        ('base_model: m\nwandb_name: "run\noutput_dir: o\nwandb_project: "p"\n', 2),
        ("base_model: m\nroles:\n  user:\n- bot\n    - it\n    system: x\n", 4),
    ],
)
def test_what_is_not_yaml_is_told_where_it_begins(tmp_path: Path, text: str, line: int) -> None:
    (fault,) = faults(tmp_path, text)
    assert fault.startswith(f"r.yaml:{line}:") and "not YAML" in fault


def test_old_spellings_that_contradict_hide_no_other_fault(tmp_path: Path) -> None:
    text = GOOD + "micro_batch_size: [2]\nbatch_size: 8\nlora_rank: 8\n"
    found = faults(tmp_path, text)
    assert [fault.split(": ")[0] for fault in found] == ["r.yaml:4:1", "r.yaml:5:1", "r.yaml:6:1"]


@pytest.mark.parametrize("number", ["1" + "0" * 30, "1e30", "-9999999999999999999"])
@pytest.mark.parametrize("key", ["logging_steps", "save_steps", "lora_r"])
def test_a_whole_number_that_no_library_can_count_is_refused(tmp_path: Path, key: str, number: str) -> None:
    assert f"`{key}: " in faults(tmp_path, GOOD + f"{key}: {number}\n")[0]


def test_digits_of_other_scripts_are_no_number(tmp_path: Path) -> None:
    assert "valid number" in faults(tmp_path, GOOD + "adam_epsilon: ٣\n")[0]


@pytest.mark.parametrize("path", ["~~", "~nobody-of-that-name/data.jsonl"])
def test_a_home_that_is_not_there_is_a_path_like_others(tmp_path: Path, path: str) -> None:
    assert check(tmp_path, GOOD.replace("org/data", path).replace("base_model: m", f"base_model: {path}")).recipe


def test_null_inside_a_section_means_not_written(tmp_path: Path) -> None:
    text = GOOD.replace("org/data", "a/b, message_property_mappings: {role: , content: text}")
    recipe = check(tmp_path, text + "bnb_config_kwargs: {bnb_4bit_quant_type: }\n").recipe
    properties = recipe.datasets[0].message_property_mappings
    assert properties is not None and (properties.role, properties.content) == ("role", "text")
    assert recipe.bnb_config_kwargs is None


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("special_tokens: {pad_tokn: }", "unknown key `special_tokens.pad_tokn`"),
        ("adapter: lora\nlora_alpha_pattern: {q_proj:64}", "lora_alpha_pattern.q_proj:64"),
    ],
)
def test_an_empty_value_hides_no_misspelt_key(tmp_path: Path, line: str, says: str) -> None:
    assert says in faults(tmp_path, GOOD + line)[0]


@pytest.mark.parametrize(
    ("lines", "place"),
    [
        (
            "optimizer: galore_adamw\noptim_target_modules: all_linear\noptim_args:\n  rank: {a: 1}",
            "r.yaml:7:3: error: `optim_args.rank",
        ),
        ("peft_trainable_token_indices:\n- 0\n- 1,", "r.yaml:6:3: error: `peft_trainable_token_indices.1"),
        ("lora_modules_to_save:\n- lm_head\n- {v_proj: 1}", "r.yaml:6:3: error: `lora_modules_to_save.1"),
    ],
)
def test_a_wrong_item_has_its_own_line(tmp_path: Path, lines: str, place: str) -> None:
    (fault,) = faults(tmp_path, GOOD + lines)
    assert fault.startswith(place)


@pytest.mark.parametrize("value", ["[a]", "{a: 1}", "[[1]]", "5", "true"])
def test_a_dataset_path_of_another_type_is_a_fault(tmp_path: Path, value: Any) -> None:
    with pytest.raises(RecipeError, match="valid string"):
        check(tmp_path, GOOD.replace("org/data", value))


@pytest.mark.parametrize("lines", ["bfloat16: 7", "float16: text", "recipe_version: true"])
def test_a_switch_or_a_version_of_another_type_is_a_fault(tmp_path: Path, lines: str) -> None:
    assert lines.split(":")[0] in faults(tmp_path, GOOD + lines)[0]


def test_an_empty_value_inside_or_around_a_section_means_not_written(tmp_path: Path) -> None:
    recipe = check(tmp_path, GOOD + "test_datasets: {}\nbnb_config_kwargs: {bnb_4bit_compute_dtype: ''}\n").recipe
    assert recipe.test_datasets is None
    assert recipe.bnb_config_kwargs is not None and not recipe.bnb_config_kwargs.model_fields_set
