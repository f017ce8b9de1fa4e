"""Run folders as a finished training leaves them, made without training: the planned calls load the model and attach
the adapter, chance stands for what was learned, and the planned calls save both."""

from pathlib import Path
from typing import Any

import torch

from finetune import stages
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded
from finetune.machine import probe
from finetune.plan import Plan, perform
from finetune.recipe.load import load_recipe
from finetune.rendering.turn_end import find_turn_end
from finetune.resolve import resolve
from finetune.rundir import RunDir
from finetune.saving import save


def finished(recipe: Path, learned: float = 0.05, status: str = "finished") -> Path:
    """The run folder of a recipe. `learned`: spread of what is added to every trained weight."""
    checked = load_recipe(recipe, [])
    plan = resolve(checked.recipe, probe())
    backend = BACKENDS[plan.backend]
    loaded = backend.load(plan.stage("load"))
    perform(stages.one(plan, "set_template"), tokenizer=loaded.tokenizer)
    loaded = Loaded(backend.adapt(loaded.model, plan.stage("adapt")), loaded.tokenizer)
    torch.manual_seed(3)
    with torch.no_grad():
        for weight in loaded.model.parameters():
            if weight.requires_grad:
                weight += learned * torch.randn_like(weight)
    stops = sorted({find_turn_end(loaded.tokenizer).token_id, loaded.tokenizer.eos_token_id})
    return _saved(checked.recipe, plan, loaded, stops, status)


def _saved(recipe: Any, plan: Plan, loaded: Loaded, stops: list[int], status: str) -> Path:
    run = RunDir(Path(recipe.output_dir))
    run.path.mkdir(parents=True, exist_ok=True)  # PiSSA keeps its first adapter there
    config = stages.generation_config(plan, tuple(stops), loaded.tokenizer.pad_token_id)
    save(plan, loaded.model, loaded.tokenizer, config)
    run.write("plan.json", plan.as_json())
    run.write("origin.json", {"directory": str(Path.cwd()), "keys": recipe.model_dump(mode="json")})
    run.write("generation.json", {"style": "chat_template", "stop_ids": stops})
    run.status(status, steps=2)
    return run.path
