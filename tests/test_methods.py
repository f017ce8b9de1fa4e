"""Methods besides imitating: which recipes fit them, what their rows become, and that their runs learn and save."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.data import shapes
from finetune.errors import RecipeError, RewardError
from finetune.formats import detect
from finetune.formats.meaning import Asked, BadRow, Fields, Judged, PreferencePair
from finetune.formats.preference import PAIRS
from finetune.machine import Machine
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from finetune.recipe.rules import broken_rules
from finetune.resolve import resolve

PAIR = {"prompt": "q", "chosen": "good", "rejected": "bad"}
BASE = {"base_model": "m", "output_dir": "o", "datasets": [{"path": "d"}]}


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"the sea {n}", "chosen": f"warm {n}", "rejected": f"calm {n}"} for n in range(24)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ({"rl": "dpo", "orpo_alpha": 0.1}, "`orpo_alpha` counts only with `rl: orpo`"),
        ({"rl": "dpo", "sample_packing": True}, "`sample_packing` cannot be honoured with `rl: dpo`"),
        ({"rl": "dpo", "datasets": [{"path": "d", "type": "alpaca"}]}, "does not fit `rl: dpo`"),
        ({"datasets": [{"path": "d", "type": "chatml.intel"}]}, "write rl: dpo"),
        ({"rl": "dpo", "reward_model": True}, "are two methods"),
        ({"rl": "grpo"}, "needs what rewards an answer"),
        ({"rl": "dpo", "dpo_loss_type": "exo_pair"}, "needs `dpo_label_smoothing`"),
        ({"reward_model": True, "sample_prompts": ["x"]}, "scores answers and writes none"),
        ({"rl": "grpo", "trl": {"reward_funcs": ["a.py:f"], "num_generations": 3}}, "no multiple of num_generations"),
        ({"rl": "dpo", "adapter": "prompt_tuning"}, "tokens of its own before a row"),
        ({"rl": "ipo", "rl_beta": 0}, "learns nothing of which answer is better"),
        ({"rl": "kto", "micro_batch_size": 1}, "set micro_batch_size to 2 or more"),
        ({"rl": "dpo", "metric_for_best_model": "perplexity"}, "is not measured with `rl: dpo`; write loss or"),
        ({"reward_model": True, "adapter": "lora", "peft_init_lora_weights": "pissa"}, "a head that scores"),
        ({"rl": "orpo", "activation_offloading": True}, "TRL's trainer of this method cannot offload"),
    ],
)
def test_what_a_method_cannot_honour_is_refused_by_name(written: dict[str, Any], says: str) -> None:
    assert [message for _, message in broken_rules(BASE | written) if says in message]


def test_the_plan_says_what_unsloths_checkpointing_is_with_each_method() -> None:
    for method, says in (("dpo", "here through TRL"), ("orpo", "offloads nothing with rl: orpo")):
        recipe = Recipe.model_validate(BASE | {"rl": method, "gradient_checkpointing": "unsloth"})
        assert says in " ".join(resolve(recipe, Machine()).notes)


def test_rows_of_another_kind_than_the_methods_are_refused_with_both_named() -> None:
    with pytest.raises(BadRow, match=r"pairs of a chosen and a rejected answer.*this recipe imitates"):
        detect(PAIR, Fields())
    with pytest.raises(BadRow, match=r"learns from answers that are good or bad.*They look like pairs"):
        detect(PAIR, Fields(kind="judged"))
    assert detect(PAIR, Fields(kind="pair"))[0] == "pair:chat_template"
    named = {"ask": "q", "good": "c", "bad": "r"}
    columns = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
    form, why = detect(named, Fields(kind="pair", columns=columns))
    assert (form, "`good` is the chosen" in why) == ("pair:chat_template", True)


def test_answers_to_different_questions_and_equal_answers_are_bad_rows() -> None:
    turns = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    other = [{"role": "user", "content": "other"}, {"role": "assistant", "content": "b"}]
    with pytest.raises(BadRow, match="differ from turn 1 on"):
        PAIRS["chat_template"].read({"chosen": turns, "rejected": other}, Fields(kind="pair"))
    with pytest.raises(BadRow, match="are the same"):
        PAIRS["chat_template"].read({"chosen": turns, "rejected": turns}, Fields(kind="pair"))


def prepared(path: Path) -> tuple[Any, Any]:
    plan = resolve(load_recipe(path).recipe, Machine())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    return stages.prepare(plan, stages.open_sources(plan), tokenizer), tokenizer


@pytest.mark.parametrize("family", ["chatml", "llama3", "gemma"])
def test_both_answers_of_a_pair_end_with_the_end_token_after_one_question(
    family: str, write_recipe: Callable[..., Path], tiny_models: Any, pairs: Path
) -> None:
    recipe = write_recipe(base_model=str(tiny_models[family]), rl="dpo", datasets=[{"path": str(pairs)}])
    data, tokenizer = prepared(recipe)
    rows = shapes.pairs(purpose="train", prepared=data).to_list()
    assert len(rows) == 24
    for row in rows:
        prompt = tokenizer.decode(row["prompt_ids"])
        assert prompt.count(tokenizer.bos_token or "\0") == bool(tokenizer.bos_token)
        assert row["chosen_ids"][-1] == row["rejected_ids"][-1]
        assert row["chosen_ids"][-1] in data.stop_ids
        assert tokenizer.decode(row["chosen_ids"]).startswith("warm")


def test_a_long_question_loses_its_beginning_for_both_answers_alike(
    write_recipe: Callable[..., Path], pairs: Path
) -> None:
    whole, _ = prepared(write_recipe(rl="dpo", datasets=[{"path": str(pairs)}]))
    cut, _ = prepared(write_recipe(rl="dpo", datasets=[{"path": str(pairs)}], max_prompt_len=4))
    for one, other in zip(*(shapes.pairs(purpose="train", prepared=data) for data in (whole, cut)), strict=True):
        assert other == one | {"prompt_ids": one["prompt_ids"][-4:]}
    assert cut.counted["train"].truncated == 24


def test_code_that_rewards_stands_beside_the_recipe_or_is_pinned(
    write_recipe: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "rewards.py").write_text("def short(completions, **kwargs): return [0.0 for _ in completions]\n")
    trl = {"num_generations": 2, "max_completion_length": 8}

    def planned(name: str) -> Any:
        path = write_recipe(rl="grpo", trl=trl | {"reward_funcs": [name]})
        return resolve(load_recipe(path).recipe, Machine()).one("train", "load_function")

    call = planned("rewards.py:short")
    assert call.arguments["file"] == str(tmp_path / "rewards.py") and len(call.arguments["sha256"]) == 64
    assert planned("rewards.short").arguments == call.arguments
    elsewhere = tmp_path.parent / "elsewhere.py"
    elsewhere.write_text("def short(completions, **kwargs): return []\n")
    with pytest.raises(RecipeError, match="must be pinned"):
        planned(f"{elsewhere}:short")
    with pytest.raises(RecipeError, match="the recipe pins"):
        planned("rewards.py:short@000000000000")


REWARDS = """def short(completions, **columns):
    return [0.0 for _ in completions]
def raises(completions, **columns):
    return [1 / 0 for _ in completions]
def few(completions, **columns):
    return [1.0]
def words(completions, **columns):
    return ["good" for _ in completions]
def endless(completions, **columns):
    return [0.0, float("inf")]
def nothing(completions, **columns):
    return [None for _ in completions]
def needs(completions, solution):
    return [0.0 for _ in completions]
"""


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("raises", r"rewards.py:raises failed in line 4: ZeroDivisionError"),
        ("few", r"should give a list of 2 numbers, one for each answer; it gave a list of 1"),
        ("words", r"gave 'good', which is no finite number"),
        ("endless", r"gave inf, which is no finite number"),
        ("nothing", r"gave None for each of 2 answers"),
        ("needs", r"unexpected keyword argument 'prompts'.*as \*\*columns"),
    ],
)
def test_a_function_that_cannot_reward_is_named_with_what_it_did(name: str, says: str, tmp_path: Path) -> None:
    from finetune.trainers.rewards import load_function

    path = tmp_path / "rewards.py"
    path.write_text(REWARDS)
    pinned = {"file": str(path), "sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "alone": True}
    assert load_function(name="short", **pinned).reward(prompts=["q"], completions=["a"]) == [0.0]
    with pytest.raises(RewardError, match=says):
        load_function(name=name, **pinned).reward(prompts=["q", "q"], completions=["a", "b"])


def test_what_rewards_and_the_adapter_to_go_on_from_are_looked_at_before_the_model_is_loaded(
    write_recipe: Callable[..., Path], finetune: Any, tmp_path: Path, pairs: Path
) -> None:
    (tmp_path / "rewards.py").write_text("def short(completions: return []\n")
    trl = {"num_generations": 2, "max_completion_length": 8, "reward_funcs": ["rewards.py:short"]}
    online = {"rl": "grpo", "trl": trl, "datasets": [{"path": str(pairs)}]}
    code, out, err = finetune(write_recipe(**online))
    assert (code, "cannot be run: SyntaxError" in err) == (3, True), err
    assert "preparing data" in out and "loading the model" not in out
    code, out, err = finetune(write_recipe(rl="dpo", datasets=[{"path": str(pairs)}], lora_model_dir="a/b/c"))
    assert (code, "lora_model_dir: a/b/c holds no adapter" in err) == (5, True), err
    assert "loading the model" not in out


def test_the_best_checkpoint_of_rewarded_answers_is_chosen_by_the_reward(write_recipe: Callable[..., Path]) -> None:
    (write_recipe().parent / "rewards.py").write_text(REWARDS)
    trl = {"num_generations": 2, "max_completion_length": 8, "reward_funcs": ["rewards.py:short"]}
    recipe = load_recipe(write_recipe(rl="grpo", trl=trl, val_set_size=4, early_stopping_patience=2)).recipe
    config = resolve(recipe, Machine()).one("train", "GRPOConfig")
    assert config is not None
    assert (config.arguments["metric_for_best_model"], config.arguments["greater_is_better"]) == ("eval_reward", True)


def test_judgements_and_questions_keep_what_stands_beside_the_text() -> None:
    from finetune.formats import READERS

    judged = READERS["judged:chat_template"].read({"prompt": "q", "completion": "a", "label": 0}, Fields(kind="judged"))
    assert isinstance(judged, Judged) and judged.good is False
    asked = READERS["prompt:chat_template"].read({"prompt": "q", "solution": 4}, Fields(kind="prompt"))
    assert isinstance(asked, Asked) and asked.columns == {"solution": 4}
    pair = READERS["pair:chatml.intel"].read({"question": "q", "chosen": "a", "rejected": "b"}, Fields(kind="pair"))
    assert isinstance(pair, PreferencePair)


@pytest.mark.parametrize(
    "method",
    [
        {"rl": "dpo"},
        {"rl": "orpo", "adapter": None},
        {"reward_model": True, "sample_prompts": None, "generation_max_new_tokens": None},
    ],
)
def test_a_method_trains_measures_and_saves(
    method: dict[str, Any], write_recipe: Callable[..., Path], finetune: Any, pairs: Path, tmp_path: Path
) -> None:
    code, _, err = finetune(write_recipe(datasets=[{"path": str(pairs)}], val_set_size=6, **method))
    assert code == 0, err
    facts = json.loads((tmp_path / "run" / "run.json").read_text())
    assert any("margin" in name for name in facts["measures"])
    folder = tmp_path / "run" / ("adapter" if method.get("adapter", "lora") else "model")
    assert not (folder / "ref").exists()
    if "reward_model" in method:
        assert json.loads((tmp_path / "run" / "scores.json").read_text())[0]["after"]["chosen"]
