"""A recipe may stand on others, and says where every value came from."""

from pathlib import Path

import pytest

from finetune.errors import RecipeError
from finetune.recipe.load import Checked, load_recipe

BASE = "base_model: m\ndatasets: [{path: org/data}]\noutput_dir: o\n"


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


def load(folder: Path, *overrides: str) -> Checked:
    return load_recipe(folder / "top.yaml", overrides)


def fault(folder: Path) -> str:
    with pytest.raises(RecipeError) as caught:
        load(folder)
    return str(caught.value).replace(f"{folder}/", "")


def test_mappings_are_merged_lists_replaced_and_null_goes_back_to_the_default(tmp_path: Path) -> None:
    write(
        tmp_path,
        base=BASE + "lora_r: 32\nadapter: lora\nspecial_tokens: {pad_token: p, eos_token: e}\nseed: 7\n"
        "lora_target_modules: [q_proj, v_proj]\n",
        top="extends: base.yaml\nlora_target_modules: [k_proj]\nspecial_tokens: {eos_token: f}\nseed:\n",
    )
    checked = load(tmp_path)
    recipe = checked.recipe
    assert (recipe.lora_r, recipe.lora_target_modules, recipe.seed) == (32, ["k_proj"], 42)
    assert recipe.special_tokens and recipe.special_tokens.model_dump(exclude_none=True) == {
        "pad_token": "p",
        "eos_token": "f",
    }
    assert str(checked.source.where(("lora_r",))) == f"{tmp_path}/base.yaml:4:1"
    assert str(checked.source.where(("lora_target_modules",))) == f"{tmp_path}/top.yaml:2:1"


def test_a_later_base_wins_over_an_earlier_one_and_bases_may_have_bases(tmp_path: Path) -> None:
    write(
        tmp_path,
        root=BASE + "seed: 1\nlora_r: 2\n",
        one="extends: root.yaml\nseed: 2\nadapter: lora\n",
        two="seed: 3\nlora_alpha: 5\n",
        top="extends: [one.yaml, two.yaml]\nlora_alpha: 6\n",
    )
    recipe = load(tmp_path).recipe
    assert (recipe.seed, recipe.lora_r, recipe.lora_alpha) == (3, 2, 6)
    assert load(tmp_path, "seed=9").recipe.seed == 9


def test_an_old_spelling_in_a_base_gives_way_to_todays_above_it(tmp_path: Path) -> None:
    write(tmp_path, base=BASE + "flash_attention: true\n", top="extends: base.yaml\nattn_implementation: eager\n")
    assert load(tmp_path).recipe.attn_implementation == "eager"


def test_a_path_in_a_base_is_looked_up_beside_the_base(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "rows.jsonl").write_text("{}\n")
    write(tmp_path / "shared", base=BASE.replace("org/data", "rows.jsonl"))
    write(tmp_path, top="extends: shared/base.yaml\n")
    assert Path(load(tmp_path).recipe.datasets[0].path) == tmp_path / "shared" / "rows.jsonl"


def test_what_cannot_be_extended_is_said_at_its_line(tmp_path: Path) -> None:
    write(tmp_path, top="seed: 1\nextends: gone.yaml\n")
    assert fault(tmp_path) == "top.yaml:2:1: error: `extends: gone.yaml` names no file beside top.yaml [FT007]"
    write(tmp_path, top="extends: [a.yaml]\n", a="extends: b.yaml\n", b="seed: 1\nextends: top.yaml\n")
    assert fault(tmp_path) == "b.yaml:2:1: error: `extends: top.yaml` leads back to this file [FT007]"
    write(tmp_path, top="extends: 5\n")
    assert "should be a recipe file, or a list of them" in fault(tmp_path)
    write(tmp_path, top="extends: a.yaml\nlora_rr: 1\n", a=BASE + "micro_batch: 1\n")
    assert [line.split(":")[0:2] for line in fault(tmp_path).splitlines()] == [["a.yaml", "4"], ["top.yaml", "2"]]
