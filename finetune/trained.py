"""A run folder, or the recipe of one -> its model, tokenizer, template and sampling, ready to answer on this machine.
Trains nothing and writes nothing."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune import stages
from finetune.answering.settings import Settings, settings_of
from finetune.answering.writers import SLOTS, Writers
from finetune.answering.writing import Terms, Writing
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded
from finetune.blockers import attends_with
from finetune.errors import MachineError, ModelError, RunFolderError
from finetune.generation import Prompt, prompt_ids, refuse_unseen_tools
from finetune.machine import Machine, probe
from finetune.noise import quiet_libraries
from finetune.plan import Call, Plan, perform
from finetune.ready import use_one_gpu
from finetune.recipe.load import load_recipe
from finetune.rundir import MARKER, RunDir, checked


@dataclass(frozen=True)
class Trained:
    """What a run trained. `style`: how a question is put to it; `settings`: how its recipe has answers drawn."""

    run: RunDir
    plan: Plan
    loaded: Loaded
    style: str
    stop_ids: tuple[int, ...]
    settings: Settings

    @property
    def has_base(self) -> bool:
        """Whether the base model can answer too: it is there beneath an adapter."""
        return self.plan.has_adapter

    @property
    def room(self) -> int | None:
        """Tokens of prompt and answer together, at most; None where the model has no bound."""
        limit = getattr(self.loaded.model.config.get_text_config(), "max_position_embeddings", None)
        return limit if isinstance(limit, int) and limit > 0 else None

    def writers(self, slots: int = SLOTS) -> Writers:
        model, tokenizer = self.loaded.model, self.loaded.tokenizer
        terms = Terms(tokenizer, frozenset(self.stop_ids), model.device)
        found = Writers(model, terms, int(tokenizer.pad_token_id or 0), slots)
        if self.plan.backend == "unsloth":
            found.batch = None  # its own forward pass for answers keeps its memory its own way
        return found

    def as_base(self) -> AbstractContextManager[Any]:
        """A context in which the base model answers."""
        off: AbstractContextManager[Any] = stages.without_adapter(self.loaded.model)
        return off

    def ids_of(self, prompt: Prompt) -> list[int]:
        return prompt_ids(prompt, self.loaded.tokenizer)

    def fitting(self, ids: Sequence[int], settings: Settings) -> Settings:
        """With no more tokens than the model has room for. ModelError if the prompt leaves room for none."""
        if self.room is None:
            return settings
        if len(ids) >= self.room:
            raise ModelError(
                f"the prompt has {len(ids)} tokens, and the model has room for {self.room}, its answer included. "
                "Shorten it, or begin anew"
            )
        return replace(settings, max_new_tokens=min(settings.max_new_tokens, self.room - len(ids)))

    def writing(self, prompt: Prompt, settings: Settings, **how: Any) -> Writing:
        """An answer that can be written. ModelError if there is no room for it; BadRow if the template refuses it."""
        refuse_unseen_tools(prompt, self.loaded.tokenizer)
        ids = self.ids_of(prompt)
        return Writing(ids, self.fitting(ids, settings), **how)


def opened(path: Path) -> Trained:
    """A finished run's model, by its folder or its recipe. RunFolderError if there is none, or it is damaged."""
    run = RunDir(folder_of(path))
    try:
        plan = _here(Plan.from_json(run.read("plan.json")), run.read("origin.json")["directory"], probe())
        how = run.read("generation.json")
        stop_ids, style = tuple(how["stop_ids"]), str(how["style"])
    except (KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(f"{run.path}: plan.json, origin.json or generation.json is damaged ({error})") from None
    if plan.one("generate", "sample_pairs") is not None:
        raise RunFolderError(f"{run.path} holds a reward model, which scores answers and writes none")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    loaded = load_trained(plan, run)
    config = stages.generation_config(plan, stop_ids, loaded.tokenizer.pad_token_id)
    # What the plan leaves unset would else be filled in from the checkpoint's own generation_config.
    loaded.model.generation_config = config
    seed = plan.one("generate", "set_seed")
    assert seed is not None
    perform(seed)
    return Trained(run, plan, loaded, style, stop_ids, settings_of(config, seed.arguments["seed"]))


def folder_of(path: Path) -> Path:
    """A run's folder, or the one that a recipe's output_dir names. RunFolderError if that was not trained yet."""
    if not path.is_file():
        return path
    folder = checked(load_recipe(path).recipe.output_dir)
    if not (folder / MARKER).is_file():
        raise RunFolderError(f"{path} was not trained yet: there is no run in its output_dir {folder}. Train it first")
    return folder


def load_trained(plan: Plan, run: RunDir) -> Loaded:
    """The run's model, adapter on, with the tokenizer as saved. ModelError if base_model is gone."""
    weights = run.weights
    backend = BACKENDS[plan.backend]
    use_one_gpu()
    backend.prepare_process()
    quiet_libraries(bars=False)
    from transformers import AutoTokenizer

    calls = plan.stage("load")
    if not plan.has_adapter:
        calls = tuple(_with_base(call, str(weights)) for call in calls)
    loaded = backend.load(calls)
    model = loaded.model
    if plan.has_adapter:
        from peft import PeftModel

        if not any(weights.glob("adapter_model.*")):  # peft would look for it on the hub
            raise ModelError(f"{weights} holds no adapter_model.safetensors: its weights are gone. Train it again")
        try:
            model = PeftModel.from_pretrained(model, str(weights))
        except Exception as error:  # safetensors, peft and the hub each raise types of their own
            raise ModelError(f"the adapter in {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    backend.for_inference(model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(weights))
    except Exception as error:  # tokenizers raises bare Exceptions
        raise ModelError(f"the tokenizer in {weights} cannot be loaded: {str(error).splitlines()[0]}") from error
    return Loaded(model, tokenizer)


def base_of(run: RunDir) -> str:
    """The name or folder of the model beneath a run's adapter, as this machine finds it."""
    plan = _here(Plan.from_json(run.read("plan.json")), run.read("origin.json")["directory"], probe())
    names = (call.arguments.get(name) for call in plan.stage("load") for name in BASE_NAMES)
    return next(str(name) for name in names if name)


BASE_NAMES = ("pretrained_model_name_or_path", "model_name")


def _with_base(call: Call, base: str) -> Call:
    changed = {name: base for name in BASE_NAMES if name in call.arguments}
    return replace(call, arguments={**call.arguments, **changed})


def _here(plan: Plan, directory: str, machine: Machine) -> Plan:
    """The plan as it runs on this machine: the model on its device, a relative base_model and data found from
    anywhere."""
    if plan.backend == "unsloth" and not machine.cuda:
        raise MachineError("this run was trained with backend: unsloth, which needs a CUDA GPU to load it again")
    calls = []
    for call in plan.stage("load"):
        base = next((call.arguments[name] for name in BASE_NAMES if name in call.arguments), None)
        if base and not Path(base).exists() and (Path(directory) / base).exists():
            call = _with_base(call, str(Path(directory) / base))
        if "device_map" in call.arguments:
            here: dict[str, Any] = {"device_map": {"": 0 if machine.cuda else "cpu"}}
            if not attends_with(machine, str(call.arguments["attn_implementation"])):
                here["attn_implementation"] = "sdpa"
            call = replace(call, arguments={**call.arguments, **here})
        calls.append(call)
    sources = tuple(_found_from(directory, call) for call in plan.stage("format"))
    return replace(plan, calls={**plan.calls, "load": tuple(calls), "format": sources})


def _found_from(directory: str, call: Call) -> Call:
    """Data of a relative path, as seen from where the run was started."""
    path = call.arguments.get("path")
    there = Path(directory) / str(path)
    if not call.target.endswith(".open_source") or Path(str(path)).exists() or not there.exists():
        return call
    return replace(call, arguments={**call.arguments, "path": str(there)})
