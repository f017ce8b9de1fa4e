"""Talk to what a run trained, with the run's own template, stop tokens and sampling. Trains nothing, writes nothing."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune import stages
from finetune.backends import BACKENDS
from finetune.backends.loaded import Loaded
from finetune.errors import MachineError, ModelError, RunFolderError
from finetune.formats.meaning import Message
from finetune.generation import Prompt, answer, prompt_for
from finetune.machine import Machine, probe
from finetune.noise import quiet_libraries
from finetune.plan import Plan, perform
from finetune.rundir import RunDir
from finetune.runner import use_one_gpu


def chat(path: Path, prompt: str | None) -> int:
    """Answer one prompt, or every line typed until the input ends. RunFolderError if there is no finished run."""
    run = RunDir(path)
    try:
        plan = _here(Plan.from_json(run.read("plan.json")), run.read("origin.json")["directory"], probe())
        how = run.read("generation.json")
        stop_ids, style = tuple(how["stop_ids"]), str(how["style"])
    except (KeyError, TypeError) as error:
        raise RunFolderError(f"{path}: plan.json, origin.json or generation.json is damaged ({error})") from None
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    loaded = load_trained(plan, run)
    config = stages.generation_config(plan, stop_ids, loaded.tokenizer.pad_token_id)
    seed = plan.one("generate", "set_seed")
    assert seed is not None
    perform(seed)
    if prompt is not None:
        _say(prompt_for(_readable(prompt), style), loaded, config)
        return 0
    _converse(style, loaded, config)
    return 0


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


def _readable(text: str) -> str:
    """What a terminal gave, with bytes that are no UTF-8 replaced."""
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


BASE_NAMES = ("pretrained_model_name_or_path", "model_name")


def _with_base(call: Any, base: str) -> Any:
    changed = {name: base for name in BASE_NAMES if name in call.arguments}
    return replace(call, arguments={**call.arguments, **changed})


def _here(plan: Plan, directory: str, machine: Machine) -> Plan:
    """The plan as it runs on this machine: the model on its device, a relative base_model found from anywhere."""
    if plan.backend == "unsloth" and not machine.cuda:
        raise MachineError("this run was trained with backend: unsloth, which needs a CUDA GPU to load it again")
    calls = []
    for call in plan.stage("load"):
        base = next((call.arguments[name] for name in BASE_NAMES if name in call.arguments), None)
        if base and not Path(base).exists() and (Path(directory) / base).exists():
            call = _with_base(call, str(Path(directory) / base))
        if "device_map" in call.arguments:
            here: dict[str, Any] = {"device_map": {"": 0 if machine.cuda else "cpu"}}
            if call.arguments["attn_implementation"] == "flash_attention_2" and not machine.has("flash_attn"):
                here["attn_implementation"] = "sdpa"
            call = replace(call, arguments={**call.arguments, **here})
        calls.append(call)
    return replace(plan, calls={**plan.calls, "load": tuple(calls)})


def _say(prompt: Prompt, loaded: Loaded, config: Any) -> str:
    """Print the answer as it is made; the text as it was said."""
    from transformers import TextStreamer

    streamer = TextStreamer(loaded.tokenizer, skip_prompt=True, skip_special_tokens=True)
    given = answer(prompt, loaded.model, loaded.tokenizer, config, streamer)
    if not given.stopped:
        print(f"[cut at {given.tokens} tokens: generation_max_new_tokens]")
    return given.text


def _converse(style: str, loaded: Loaded, config: Any) -> None:
    print("Type a message; an empty line or Ctrl-D ends.")
    history: tuple[Message, ...] = ()
    while True:
        try:
            line = _readable(input("> ")).strip()
        except EOFError:
            print()
            return
        if not line:
            return
        if style != "chat_template":
            _say(prompt_for(line, style), loaded, config)
            continue
        history = (*history, Message("user", line))
        try:
            text = _say(Prompt(line, messages=history), loaded, config)
        except (RuntimeError, IndexError) as error:
            raise ModelError(f"the conversation no longer fits the model: {error}") from error
        history = (*history, Message("assistant", text))
