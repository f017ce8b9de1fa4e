"""Optimizers and courses of the learning rate: the tables fit the installed library, typos are named, all train."""

import inspect
import json
import math
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast, get_args

import pytest

from finetune.errors import MachineError, ModelError, RecipeError
from finetune.machine import assumed
from finetune.recipe.optimizer import OptimizerName, SchedulerName
from finetune.recipe.optimizers import OPTIMIZERS, REFUSED_OPTIMIZERS, SCHEDULERS

COMMON = {"optimizer", "num_warmup_steps", "num_training_steps", "last_epoch", "self", "kwargs", "verbose"}
NOT_OFFERED = {"block_size", "weight_decay", "use_kahan_summation", "momentum_dtype", "variance_dtype"} | {
    "compensation_buffer_dtype"
}
"""optim_args that transformers reads and that would not do: a text where a number is wanted, a key of its own."""


def test_the_names_are_those_of_the_tables() -> None:
    assert set(get_args(OptimizerName)) == set(OPTIMIZERS)
    assert set(get_args(SchedulerName)) == set(SCHEDULERS)


def test_every_optimizer_and_scheduler_of_transformers_is_there_or_refused_by_name() -> None:
    from transformers.training_args import OptimizerNames, SchedulerType

    assert {name.value for name in OptimizerNames} <= set(OPTIMIZERS) | set(REFUSED_OPTIMIZERS)
    assert {name.value for name in SchedulerType} <= set(SCHEDULERS)
    assert not set(OPTIMIZERS) & set(REFUSED_OPTIMIZERS)


@pytest.mark.parametrize("name", sorted(set(SCHEDULERS) - {"rex"}))
def test_a_schedulers_arguments_are_those_of_its_function(name: str) -> None:
    import torch
    from transformers import optimization

    function = optimization.TYPE_TO_SCHEDULER_FUNCTION[name]
    if name == "reduce_lr_on_plateau":
        function = torch.optim.lr_scheduler.ReduceLROnPlateau
    if name == "greedy":
        function = optimization.GreedyLR.__init__
    assert set(SCHEDULERS[name]) == set(inspect.signature(function).parameters) - COMMON


def test_an_optimizers_arguments_are_those_that_transformers_reads() -> None:
    from transformers import trainer_optimizer

    for name, known in OPTIMIZERS.items():
        if known.own:
            continue
        source = inspect.getsource(trainer_optimizer._OPTIMIZER_HANDLERS[name])
        if "ctx.optim_args" not in source or "bitsandbytes" in source:
            continue
        read = set(re.findall(r'optim_args\.(?:get|pop)\("(\w+)"', source))
        loops = re.findall(r"for key in \(([^)]*)\)", source)
        read |= set(re.findall(r'"(\w+)"', " ".join(loops))) | set(re.findall(r'"(\w+)" in ctx.optim_args', source))
        assert set(known.arguments) == read - NOT_OFFERED, name


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ({"lr_scheduler": "cosine", "lr_scheduler_kwargs": {"num_cycle": 2}}, "did you mean `num_cycles`?"),
        ({"lr_scheduler": "linear", "lr_scheduler_kwargs": {"power": 2.0}}, "it takes none"),
        ({"lr_scheduler": "constant_with_warmup", "lr_scheduler_kwargs": {"min_lr": 0.1}}, "it takes none"),
        ({"lr_scheduler": "polynomial", "lr_scheduler_kwargs": {"power": "high"}}, "should be a number"),
        ({"lr_scheduler": "warmup_stable_decay"}, "num_decay_steps: 100"),
        ({"lr_scheduler": "cosine_with_min_lr"}, "min_lr_rate: 0.1"),
        ({"lr_scheduler": "reduce_lr_on_plateau"}, "val_set_size: 0.05"),
        ({"optimizer": "adamw_torch", "optim_args": {"momentum": 0.9}}, "it takes none"),
        ({"optimizer": "sgd", "optim_args": "momentun=0.9"}, "did you mean `momentum`?"),
        ({"optimizer": "sgd", "optim_args": {"nesterov": 1}}, "should be true or false"),
        ({"optimizer": "stable_adamw", "optim_args": {"kahan_sum": False}}, "should be true, or left out"),
        ({"optimizer": "lomo"}, "changes the weights inside the backward pass"),
        ({"optimizer": "adamw_anyprecision"}, "no longer published"),
        ({"optimizer": "apollo_adamw", "optim_target_modules": "all_linear", "weight_decay": 0.1}, "decays no weights"),
        ({"optimizer": "schedule_free_adamw", "warmup_ratio": 0.1}, "in whole steps only"),
        ({"lr_scheduler": "linear", "eta_min": 1e-6}, "counts only with `lr_scheduler: cosine`"),
        ({"lr_scheduler": "cosine", "eta_min": 1.0}, "is not below `learning_rate"),
        ({"lr_scheduler": "cosine", "cosine_constant_lr_ratio": 0.5}, "set `cosine_min_lr_ratio: 0.1` too"),
        ({"adapter": None, "loraplus_lr_ratio": 16}, "is for the matrices of LoRA"),
        ({"lr_groups": [{"name": "a", "modules": ["x"], "lr": 1e-3}] * 2}, "names 'a' twice"),
        ({"lr_groups": [{"name": "a", "module": ["x"], "lr": 1e-3}]}, "did you mean `modules`?"),
    ],
    ids=str,
)
def test_what_an_optimizer_or_scheduler_does_not_take_is_named(
    lines: dict[str, Any], says: str, write_recipe: Any, finetune: Any
) -> None:
    code, _, err = finetune("validate", write_recipe(**lines))
    assert code == RecipeError.exit_code and says in err, err


def test_a_missing_package_is_named_with_its_pip_line_before_the_model_is_loaded() -> None:
    from finetune.machine import Machine
    from finetune.recipe.recipe import Recipe
    from finetune.resolve import resolve

    packages = {name: "1" for name in assumed().packages if name not in {known.module for known in OPTIMIZERS.values()}}
    for name, known in OPTIMIZERS.items():
        targets = {"optim_target_modules": "all_linear"} if name.startswith(("galore", "apollo")) else {}
        values = {"base_model": "m", "datasets": [{"path": "d"}], "output_dir": "o", "optimizer": name} | targets
        blockers = " ".join(resolve(Recipe.model_validate(values), Machine(packages=packages)).blockers)
        assert (f"pip install {known.package}" in blockers) == bool(known.module), name


def rates(run: Path) -> list[float]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["learning_rate"] for line in lines if "learning_rate" in line]


@pytest.mark.parametrize(
    ("lines", "wanted"),
    [
        ({"lr_quadratic_warmup": True, "warmup_steps": 4}, [(step / 4) ** 2 for step in range(5)]),
        (
            {"cosine_constant_lr_ratio": 0.5, "cosine_min_lr_ratio": 0.2},
            [0.2 + 0.8 * 0.5 * (1 + math.cos(math.pi * min(step / 4, 1))) for step in range(8)],
        ),
        ({"eta_min": 1e-4}, [0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * step / 8)) for step in range(8)]),
        ({"lr_scheduler": "rex"}, [(1 - step / 8) / (0.1 + 0.9 * (1 - step / 8)) for step in range(8)]),
    ],
    ids=["quadratic", "constant end", "eta_min", "rex"],
)
def test_the_learning_rate_takes_the_course_that_is_written(
    lines: dict[str, Any], wanted: list[float], write_recipe: Any, finetune: Any, tmp_path: Path
) -> None:
    path = write_recipe(**{"lr_scheduler": "cosine", "max_steps": 8, "learning_rate": 1e-3} | lines)
    assert finetune(path)[0] == 0
    found = rates(tmp_path / "run")[: len(wanted)]
    assert found == pytest.approx([1e-3 * share for share in wanted], rel=1e-5)


def trainer_of(tiny_models: Any, tmp_path: Path, adapter: bool, **chosen: Any) -> Any:
    """A trainer as a run sets it up, with an optimizer."""
    from peft import LoraConfig, get_peft_model
    from transformers import LlamaForCausalLM, Trainer, TrainingArguments

    from finetune.methods.parts import set_optimizer

    model = LlamaForCausalLM.from_pretrained(tiny_models["chatml"])
    if adapter:
        model = get_peft_model(model, LoraConfig(target_modules=["q_proj", "embed_tokens"], task_type="CAUSAL_LM"))
    args = TrainingArguments(str(tmp_path), learning_rate=1e-3, weight_decay=0.1, use_cpu=True, report_to="none")
    trainer = Trainer(model, args)
    rates = {"lora_plus": None, "lora_plus_embedding": None, "embedding": None, "groups": []} | chosen.pop("rates", {})
    set_optimizer(trainer=trainer, own=chosen.get("own"), rates=rates)
    trainer.create_optimizer()
    return trainer


def rate_of(trainer: Any, part: str) -> set[float]:
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    groups = trainer.optimizer.param_groups
    return {group["lr"] for group in groups for weight in group["params"] if part in names[id(weight)]}


def test_lora_plus_gives_b_matrices_a_higher_rate(tiny_models: Any, tmp_path: Path) -> None:
    trainer = trainer_of(tiny_models, tmp_path, True, rates={"lora_plus": 16.0, "lora_plus_embedding": 1e-6})
    assert rate_of(trainer, "lora_A") == {1e-3}
    assert rate_of(trainer, "lora_B") == {16e-3}
    assert rate_of(trainer, "lora_embedding_A") == rate_of(trainer, "lora_embedding_B") == {1e-6}


def test_embeddings_and_groups_have_rates_of_their_own_and_norms_still_do_not_decay(
    tiny_models: Any, tmp_path: Path
) -> None:
    group = {"name": "mlp", "modules": ["mlp"], "lr": 5e-4}
    trainer = trainer_of(tiny_models, tmp_path, False, rates={"embedding": 1e-5, "groups": [group]})
    assert rate_of(trainer, "embed_tokens") == rate_of(trainer, "lm_head") == {1e-5}
    assert rate_of(trainer, "mlp") == {5e-4}
    assert rate_of(trainer, "self_attn") == {1e-3}
    names = {id(weight): name for name, weight in trainer.model.named_parameters()}
    for one in trainer.optimizer.param_groups:
        assert all(("norm" in names[id(weight)]) == (one["weight_decay"] == 0) for weight in one["params"])


def test_a_rate_that_holds_for_nothing_is_an_error(write_recipe: Any, finetune: Any) -> None:
    code, _, err = finetune(write_recipe(lr_groups=[{"name": "far", "modules": ["nowhere"], "lr": 1e-4}]))
    assert code == ModelError.exit_code and "lr_groups (far) holds for no parameter" in err, err
    code, _, err = finetune(write_recipe(embedding_lr=1e-4), "--overwrite")
    assert code == ModelError.exit_code and "embedding_lr holds for no parameter" in err, err


def test_muon_takes_the_matrices_and_goes_on_from_its_state(tiny_models: Any, tmp_path: Path) -> None:
    """As one of several processes; one alone hands the file to the optimizer as it is."""
    import torch

    from finetune.kernels.sharding import ShardedCheckpoints

    own = {"name": "muon", "arguments": {"betas": [0.9, 0.999], "eps": 1e-8}}
    trainers = [trainer_of(tiny_models, tmp_path, False, own=own) for _ in range(2)]
    ids = torch.arange(20).reshape(2, 10)

    def step(trainer: Any) -> None:
        trainer.model(input_ids=ids, labels=ids).loss.backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    one, other = trainers
    names = {id(weight): name for name, weight in one.model.named_parameters()}
    muon = {names[id(weight)] for group in one.optimizer.parts[0].param_groups for weight in group["params"]}
    assert any("q_proj" in name for name in muon) and not any("embed" in name or "norm" in name for name in muon)
    step(one)
    other.model.load_state_dict(one.model.state_dict())
    torch.save(one.optimizer.state_dict(), tmp_path / "optimizer.pt")
    torch.save({}, tmp_path / "scheduler.pt")
    one_of_two = SimpleNamespace(args=SimpleNamespace(world_size=2), is_deepspeed_enabled=False)
    one_of_two.optimizer, one_of_two.lr_scheduler = (
        other.optimizer,
        torch.optim.lr_scheduler.ConstantLR(other.optimizer),
    )
    ShardedCheckpoints._load_optimizer_and_scheduler(cast(Any, one_of_two), str(tmp_path))
    for trainer in trainers:
        step(trainer)
    assert all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


def lines_for(name: str) -> dict[str, Any]:
    if name.startswith(("galore", "apollo")):
        return {"optim_target_modules": "all_linear", "optim_args": {"rank": 4}}
    return {"learning_rate": 0.1, "max_steps": 20} if name == "sgd" or "schedule_free" in name else {}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_every_optimizer_trains(name: str, write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    values = {"optimizer": name, "max_steps": 8, "learning_rate": 2e-3, "adapter": None} | lines_for(name)
    code, _, err = finetune(write_recipe(**values))
    if OPTIMIZERS[name].gpu:
        assert code == MachineError.exit_code and "needs a CUDA GPU" in err
        return
    assert code == 0, err
    status = json.loads((tmp_path / "run" / "run.json").read_text())
    assert status["loss_last"] < status["loss_first"]


KWARGS: dict[str, dict[str, Any]] = {
    "warmup_stable_decay": {"num_decay_steps": 2},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "cosine_warmup_with_min_lr": {"min_lr": 1e-5, "warmup_lr_rate": 0.1},
    "greedy": {"min_lr": 1e-5, "max_lr": 1e-2},
    "reduce_lr_on_plateau": {"factor": 0.5, "patience": 0},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SCHEDULERS))
def test_every_course_trains(name: str, write_recipe: Any, finetune: Any, tmp_path: Path) -> None:
    values = {"lr_scheduler": name, "lr_scheduler_kwargs": KWARGS.get(name), "max_steps": 6}
    code, _, err = finetune(write_recipe(val_set_size=0.2, eval_steps=2, **values))
    assert code == 0, err
    assert len(rates(tmp_path / "run")) >= 6
