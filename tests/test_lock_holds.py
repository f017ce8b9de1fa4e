"""Each thing that a run reads from outside is in its lock: another state of it is refused by its name, and what comes
from the hub is loaded at the commit that is locked."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from finetune.commands.freezing import lock_faults
from finetune.locking import versions
from finetune.locking.lock import path_of
from finetune.locking.making import lock_of, raw_values
from finetune.locking.pinning import pinned_plan, pinned_recipe
from finetune.machine import assumed
from finetune.plan import Plan, perform
from finetune.recipe.load import load_recipe
from finetune.resolve import resolve
from tests.conftest import ROOT
from tests.signatures import parameters

ADAPTER = '{{"base_model_name_or_path": "{base}", "peft_type": "LORA"}}'
REWARDS = "import graders\n\n\ndef short(completions, **columns):\n    return graders.lengths(completions)\n"


def lock(recipe: Path, commit: Callable[[Any], str | None] = lambda what: None) -> Path:
    """Write the recipe's lock without its rows."""
    text = lock_of(load_recipe(recipe), raw_values(recipe, ()), {}, commit).text()
    path_of(recipe).write_text(text)
    return recipe


@pytest.fixture
def imitating(tmp_path: Path) -> Path:
    """A recipe that reads all that a recipe which imitates can read."""
    for name in ("model", "tokenizer", "adapter", "data", "more"):
        (tmp_path / name).mkdir()
    for name in ("model", "tokenizer", "adapter"):
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "model" / "modeling_own.py").write_text("pass\n")
    (tmp_path / "adapter" / "adapter_config.json").write_text(ADAPTER.format(base="org/tiny"))
    for name in ("data/a.jsonl", "more/part-1.jsonl", "validation.jsonl", "mixed.jsonl"):
        (tmp_path / name).write_text('{"messages": []}\n')
    for name in ("own.jinja", "its.jinja"):
        (tmp_path / name).write_text("{{ messages }}")
    (tmp_path / "zero.json").write_text('{"zero_optimization": {"stage": 1}}')
    (tmp_path / "base.yaml").write_text("special_tokens:\n  pad_token: <pad>\nlora_r: 8\n")
    (tmp_path / "recipe.yaml").write_text("""
output_dir: run
extends: base.yaml
base_model: model
tokenizer_config: tokenizer
adapter: lora
lora_model_dir: adapter
deepspeed: zero.json
chat_template: jinja
chat_template_jinja: own.jinja
learning_rate: ${oc.env:RATE,1e-3}
datasets:
  - {path: data, type: chat_template, chat_template: jinja, chat_template_jinja: its.jinja}
  - {path: json, data_files: [more/part-*.jsonl], type: chat_template}
  - {path: json, data_files: ["https://host/rows.jsonl", mixed.jsonl], type: chat_template}
  - {path: org/rows, name: small, type: chat_template}
test_datasets:
  - {path: validation.jsonl, type: chat_template}
""")
    return lock(tmp_path / "recipe.yaml", lambda what: "1" * 40)


@pytest.fixture
def rewarded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe whose answers are rewarded by a function with a module of its own, and by a run's reward model."""
    for name in ("model", "judges", "modules", "run/adapter"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("model", "judges"):
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "run" / "adapter" / "adapter_config.json").write_text(ADAPTER.format(base=tmp_path / "judges"))
    (tmp_path / "run" / "adapter" / "adapter_model.safetensors").write_bytes(b"1")
    (tmp_path / "run" / "metrics.jsonl").write_text("{}\n")
    (tmp_path / "modules" / "graders.py").write_text("import yaml\nimport scales\n")
    (tmp_path / "modules" / "scales").mkdir()
    (tmp_path / "modules" / "scales" / "__init__.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    (tmp_path / "rewards.py").write_text(REWARDS)
    (tmp_path / "rows.jsonl").write_text('{"prompt": "q"}\n')
    (tmp_path / "recipe.yaml").write_text("""
output_dir: run
base_model: model
adapter: lora
rl: grpo
trl: {reward_funcs: ["rewards.py:short", run], num_generations: 2, max_completion_length: 8}
micro_batch_size: 2
datasets: [{path: rows.jsonl}]
""")
    return lock(tmp_path / "recipe.yaml")


def swapped(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        text = (folder / name).read_text()
        assert old in text, name
        (folder / name).write_text(text.replace(old, new, 1))

    return change


def added(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text('{"messages": []}\n') and None


IMITATING: dict[str, tuple[Callable[[Path], None], str]] = {
    "a line of the recipe": (swapped("recipe.yaml", "adapter: lora", "seed: 7\nadapter: lora"), "seed: "),
    "a file that it extends": (swapped("base.yaml", "lora_r: 8", "lora_r: 4"), "lora_r: "),
    "special_tokens": (swapped("base.yaml", "<pad>", "<unk>"), "special_tokens.pad_token: "),
    "a deepspeed file": (swapped("zero.json", ": 1}", ": 2}"), "deepspeed.zero_optimization.stage: 1 → 2"),
    "a template file": (swapped("own.jinja", "messages", "bos_token"), "chat_template_jinja: "),
    "a template file of an entry": (swapped("its.jinja", "messages", "x"), "datasets.0.chat_template_jinja: "),
    "a local model": (swapped("model/config.json", "{}", "{ }"), "model.config.json: "),
    "code in a model's folder": (swapped("model/modeling_own.py", "pass", "import os"), "model.modeling_own.py: "),
    "a local tokenizer": (swapped("tokenizer/config.json", "{}", "{ }"), "tokenizer.config.json: "),
    "a local adapter": (swapped("adapter/config.json", "{}", "{ }"), "adapter.config.json: "),
    "a local data file": (swapped("data/a.jsonl", "[]", "[1]"), "datasets.0"),
    "a file more in a folder of data": (added("data/b.jsonl"), "datasets.0"),
    "a file more that data_files matches": (added("more/part-2.jsonl"), "datasets.1"),
    "an address of data_files": (swapped("recipe.yaml", "host/rows", "host/other"), "datasets.2: https://host/rows"),
    "a local file beside an address": (swapped("mixed.jsonl", "[]", "[1]"), "datasets.2.mixed.jsonl: "),
    "the configuration of a hub dataset": (swapped("recipe.yaml", "small", "large"), "datasets.3.name: "),
    "another hub dataset": (swapped("recipe.yaml", "org/rows", "org/others"), "datasets.3: org/rows"),
    "validation data": (swapped("validation.jsonl", "[]", "[1]"), "test_datasets.0: "),
}
REWARDED: dict[str, tuple[Callable[[Path], None], str]] = {
    "a reward function": (swapped("rewards.py", "lengths", "words"), "trl.reward_funcs.0: "),
    "a module of its own": (swapped("modules/graders.py", "scales", "scales as s"), "trl.reward_funcs.0.graders.py: "),
    "a module of that one": (
        swapped("modules/scales/__init__.py", "", "x = 1"),
        "trl.reward_funcs.0.scales/__init__.py: ",
    ),
    "a reward model": (
        swapped("run/adapter/adapter_model.safetensors", "1", "2"),
        "trl.reward_funcs.1.adapter_model.safetensors: ",
    ),
    "what its adapter stands on": (swapped("judges/config.json", "{}", "{ }"), "trl.reward_funcs.1.base.config.json: "),
}


def errors(recipe: Path) -> list[str]:
    return [fault.message for fault in lock_faults(recipe) if fault.severity == "error"]


def held(recipe: Path, cases: dict[str, tuple[Callable[[Path], None], str]]) -> None:
    assert errors(recipe) == []
    for what, (change, says) in cases.items():
        copy = recipe.parent.with_name("copy")
        shutil.copytree(recipe.parent, copy)
        change(recipe.parent)
        found = errors(recipe)
        assert len(found) == 1 and found[0].startswith(says), (what, found)
        shutil.rmtree(recipe.parent)
        copy.rename(recipe.parent)
    assert errors(recipe) == []


def test_what_a_recipe_that_imitates_reads_is_held(imitating: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    held(imitating, IMITATING)
    monkeypatch.setenv("RATE", "2e-3")
    assert [message[:14] for message in errors(imitating)] == ["learning_rate:"], "a variable's value"


def test_what_rewards_answers_is_held(rewarded: Path) -> None:
    held(rewarded, REWARDED)
    (rewarded.parent / "run" / "metrics.jsonl").write_text("")
    assert errors(rewarded) == [], "no reward hangs on it"
    assert "pyyaml" in {name.lower() for name in yaml.safe_load(path_of(rewarded).read_text())["libraries"]}


def test_two_states_of_one_version_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "finetune"
    package.mkdir()
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(versions.finetune, "__file__", str(package / "__init__.py"))
    released = versions.version_of("finetune")
    (tmp_path / "pyproject.toml").write_text("")
    first = versions.version_of("finetune")
    (package / "stages.py").write_text("x = 1\n")
    assert len({released, first, versions.version_of("finetune")}) == 3 and " (" not in str(released)
    info = tmp_path / "grown-5.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: grown\nVersion: 5.0.dev0+cpu\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert versions.version_of("grown") == "5.0.dev0"
    (info / "direct_url.json").write_text(json.dumps({"url": "x", "vcs_info": {"commit_id": "ab12" * 10}}))
    assert versions.version_of("grown") == "5.0.dev0 (commit ab12ab12ab12)"
    assert versions.version_of("nowhere-at-all") is None


COMMITS = ("1" * 40, "2" * 40)


def pinned(recipe: Path) -> Plan:
    """The plan of a frozen run of a recipe that was locked at the first commit."""
    checked = load_recipe(recipe)
    lock(recipe, lambda what: COMMITS[0])
    inputs = yaml.safe_load(path_of(recipe).read_text())["inputs"]
    plan = resolve(pinned_recipe(checked.recipe, inputs), assumed())
    return pinned_plan(plan, checked.recipe, inputs)


def hub_copy(folder: Path, name: str, commits: dict[str, Path]) -> None:
    """The hub's cache with commits of a model; main is the last."""
    place = folder / f"models--{name.replace('/', '--')}"
    for commit, source in commits.items():
        shutil.copytree(source, place / "snapshots" / commit)
        (place / "refs").mkdir(exist_ok=True)
        (place / "refs" / "main").write_text(commit)


def test_each_thing_from_the_hub_is_loaded_at_its_locked_commit(
    tmp_path: Path, tiny_models: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from huggingface_hub import constants
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    model = AutoModelForSequenceClassification.from_pretrained(tiny_models["chatml"], num_labels=1)
    judges = dict.fromkeys(COMMITS, tiny_models["chatml"])
    hub_copy(tmp_path / "hub", "org/tiny", judges)
    adapted = get_peft_model(model, LoraConfig(task_type="SEQ_CLS", r=2))
    adapted.peft_config["default"].base_model_name_or_path = "org/tiny"
    made = {}
    for number, commit in enumerate(COMMITS):
        with torch.no_grad():
            adapted.base_model.model.score.modules_to_save["default"].weight.fill_(number + 1.0)
        adapted.save_pretrained(folder := tmp_path / f"judge-{number}")
        AutoTokenizer.from_pretrained(tiny_models["chatml"]).save_pretrained(folder)
        model.config.save_pretrained(folder)
        made[commit] = folder
    hub_copy(tmp_path / "hub", "org/judge", made)
    (tmp_path / "recipe.yaml").write_text("""
output_dir: run
base_model: org/tiny
adapter: lora
lora_model_dir: org/judge
tokenizer_config: org/tiny
rl: grpo
trl: {reward_funcs: [org/judge], num_generations: 2, max_completion_length: 8}
micro_batch_size: 2
datasets: [{path: org/rows}]
""")
    plan = pinned(tmp_path / "recipe.yaml")
    named = ("revision", "base_revision")
    found = {call.target: {call.arguments[name] for name in named if name in call.arguments} for _, call in plan.each()}
    assert {target.rsplit(".", 2)[-2] for target, commits in found.items() if commits == {COMMITS[0]}} == {
        "AutoTokenizer",
        "AutoModelForCausalLM",
        "quantized",
        "continued",
        "PeftModel",
        "rewards",
    }
    reads = next(call for call in plan.stage("format") if call.target.endswith(".open_source"))
    assert reads.arguments["source"]["hub"]["revision"] == COMMITS[0]
    attach = next(call for call in plan.stage("adapt") if call.target == "peft.PeftModel.from_pretrained")
    assert "revision" in parameters(attach.target), "law 2 holds for what is pinned, too"
    reward = next(call for call in plan.stage("train") if call.target.endswith(".load_model"))
    assert set(reward.arguments) >= set(named)
    cpu = {**reward.arguments, "device_map": {"": "cpu"}, "dtype": "float32"}
    judge = perform(type(reward)(reward.target, cpu)).reward
    assert judge.score.weight.unique().tolist() == [1.0] and judge.config._commit_hash == COMMITS[0]
    loose = {name: value for name, value in cpu.items() if name not in named}
    assert perform(type(reward)(reward.target, loose)).reward.score.weight.unique().tolist() == [2.0]


def test_the_page_has_a_line_for_each_thing_that_is_held() -> None:
    page = (ROOT / "docs" / "lock.md").read_text()
    rows = re.findall(r"^\| ([^|]+) \| [^|]+ \| `([^`]+)` \|$", page, re.MULTILINE)
    told = {what.replace("`", ""): name for what, name in rows}
    assert {*IMITATING, *REWARDED} <= set(told)
    for what, (_, says) in {**IMITATING, **REWARDED}.items():
        assert says.partition(":")[0].startswith(told[what].partition("…")[0]), what


def test_a_base_model_that_is_an_adapter_or_needs_code_from_elsewhere_is_refused(
    imitating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    from finetune.backends.trust import refuse_code
    from finetune.errors import ModelError
    from finetune.plan import Call

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(imitating.parent / "hub"))
    hub_copy(imitating.parent / "hub", "org/adapter", {COMMITS[0]: imitating.parent / "adapter"})
    for name in (str(imitating.parent / "adapter"), "org/adapter"):
        with pytest.raises(ModelError, match=f"write base_model: org/tiny and lora_model_dir: {name}"):
            refuse_code(Call("x.from_pretrained", {"pretrained_model_name_or_path": name, "dtype": "float32"}))
    (imitating.parent / "model" / "config.json").write_text('{"auto_map": {"AutoModel": "other/code--own.Model"}}')
    hub_copy(imitating.parent / "hub", "org/own", {COMMITS[0]: imitating.parent / "model"})
    own = {"pretrained_model_name_or_path": "org/own", "trust_remote_code": True, "revision": COMMITS[0]}
    with pytest.raises(ModelError, match=r"code of another repository \(other/code--own.Model\)"):
        refuse_code(Call("x.from_pretrained", own))


DONE: Any = None


def test_one_process_of_a_machine_reads_the_files_and_all_load_what_is_locked(
    imitating: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import argparse

    from finetune import ranks
    from finetune.commands import freezing

    text = imitating.read_text().replace("base_model: model", "base_model: org/tiny")
    imitating.write_text(text)
    checked = load_recipe(lock(imitating, lambda what: "1" * 40))
    read: list[str] = []
    monkeypatch.setattr(freezing, "locked_now", lambda *given: read.append("files") or DONE)
    monkeypatch.setattr(freezing, "judged", lambda *given: [])
    for frozen, local, number, times in (
        (True, 0, 0, 1),
        (True, 1, 1, 0),
        (True, 0, 4, 1),
        (False, 0, 0, 1),
        (False, 0, 4, 0),
    ):
        read.clear()
        asked = argparse.Namespace(recipe=imitating, frozen=frozen, other_versions=False, overrides=[])
        hold = freezing.held_in(ranks.Rank(number, 8, local), asked, checked)
        assert len(read) == times, (frozen, local, number)
        assert hold.checked.recipe.revision_of_model == ("1" * 40 if frozen else None)
    path_of(imitating).unlink()
    with pytest.raises(freezing.DriftError, match="no lock"):
        freezing.held_in(
            ranks.Rank(1, 8, 1), argparse.Namespace(recipe=imitating, frozen=True, other_versions=False), checked
        )
