"""A run that is to be merged or exported: what its folder says of base model, adapter, prompts and stop tokens. Loads
no model and writes nothing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.adapters import ADAPTERS
from finetune.backends.trust import config_of
from finetune.errors import ModelError, RunFolderError
from finetune.plan import Call, Plan
from finetune.rundir import MARKER, RunDir, refuse_if_running

NAMES = ("pretrained_model_name_or_path", "model_name")
"""How loaders call the base model."""
ADAPTER = "adapter_model.safetensors"
MAX_ANSWER_TOKENS = 256
DRAWING = ("temperature", "top_p", "top_k", "min_p")
UNPACKED = ("Mxfp4Config", "FineGrainedFP8Config")
"""Configurations by which a quantized checkpoint is unpacked to 16 bits as it is loaded."""


@dataclass(frozen=True)
class Finished:
    """A run whose weights are saved. `style`: how a question is put (generation.style_of); `stop_ids`: what ends an
    answer; `notes`: what should be known of the run before its weights are used."""

    folder: RunDir
    plan: Plan
    keys: Mapping[str, Any]
    directory: Path
    style: str
    stop_ids: tuple[int, ...]
    notes: tuple[str, ...] = ()

    @property
    def weights(self) -> Path:
        return self.folder.weights

    @property
    def answer_tokens(self) -> int:
        """Tokens of an answer at most, in a proof: as many as the run's own answers have."""
        sampling = self.plan.one("generate", "GenerationConfig")
        tokens = sampling.arguments["max_new_tokens"] if sampling is not None else MAX_ANSWER_TOKENS
        return min(int(tokens), MAX_ANSWER_TOKENS)

    @property
    def sampling(self) -> dict[str, float]:
        """How the run's own answers are drawn. `temperature` 0: the most likely token each time."""
        planned = self.plan.one("generate", "GenerationConfig")
        said: Mapping[str, Any] = planned.arguments if planned is not None else {}
        drawn = {name: said[name] for name in DRAWING if name in said} if said.get("do_sample") else {"temperature": 0}
        return {**drawn, "repetition_penalty": float(said.get("repetition_penalty") or 1.0)}

    @property
    def scores(self) -> bool:
        """Whether the run trained a reward model, which gives a score and writes no answer."""
        return self.plan.one("generate", "sample_pairs") is not None


def finished_run(path: Path) -> Finished:
    """RunFolderError if there is no run in the folder, it goes on, or it left no weights."""
    folder = RunDir(path)
    marker = folder.read(MARKER)
    refuse_if_running(path)
    status = marker.get("status")
    if status not in ("finished", "interrupted"):
        raise RunFolderError(
            f"{path} holds a run that was not finished ({status}): there is nothing to export. Go on with it with "
            "--resume, or train it again"
        )
    folder.weights  # noqa: B018 - raises where there are none
    notes = (f"the run was stopped before its end (step {marker.get('steps', '?')}); what it had learned is taken",)
    try:
        origin, how = folder.read("origin.json"), folder.read("generation.json")
        plan = Plan.from_json(folder.read("plan.json"))
        return Finished(
            folder,
            plan,
            origin["keys"],
            Path(origin["directory"]),
            str(how["style"]),
            tuple(int(token) for token in how["stop_ids"]),
            notes if status == "interrupted" else (),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunFolderError(f"{path}: plan.json, origin.json or generation.json is damaged ({error})") from None


def refuse_unmergeable(run: Finished) -> None:
    """ModelError if what the adapter learned cannot be put into weights."""
    if not run.plan.has_adapter:
        return
    kind = str(adapter_config(run).get("peft_type", "")).lower()
    known = ADAPTERS.get(kind)
    if known is not None and not known.MERGES:
        raise ModelError(
            f"adapter: {kind} cannot be merged: it learned inputs that stand before every prompt, and no change of "
            f"weights. Use it with peft from {run.weights}, or train adapter: lora or ia3"
        )
    if _starts_from_lost_part(run):
        raise ModelError(
            "the adapter began as what 4-bit weights lost (peft.loftq_config), so in 16-bit weights it would count "
            f"twice. Use it with peft from {run.weights} on the base model in 4 bits"
        )


def _starts_from_lost_part(run: Finished) -> bool:
    return run.plan.one("adapt", ".start_from_lost_part") is not None


def adapter_config(run: Finished) -> dict[str, Any]:
    """ModelError if adapter_config.json is missing or damaged."""
    path = run.weights / "adapter_config.json"
    try:
        config: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return config
    except (OSError, ValueError) as error:
        raise ModelError(f"the adapter is damaged: {path} cannot be read ({error})") from None


def base_call(run: Finished, instead: str | None, device: str) -> Call:
    """The call that loads the base model in the numbers of its checkpoint, never quantized. `instead`: a copy of it, or
    its 16-bit sibling, as NAME or NAME@REVISION. ModelError if the checkpoint holds no such weights."""
    planned = next(call for call in run.plan.stage("load") if "dtype" in call.arguments)
    arguments = planned.arguments
    name = next(str(arguments[key]) for key in NAMES if key in arguments)
    revision = str(arguments.get("revision") or "main")
    if instead is not None:
        name, _, pinned = instead.partition("@")
        revision = pinned or "main"
    if not Path(name).exists() and (run.directory / name).exists():
        name = str(run.directory / name)
    made = {
        "pretrained_model_name_or_path": name,
        "revision": revision,
        "trust_remote_code": bool(arguments.get("trust_remote_code")),
        "use_safetensors": arguments.get("use_safetensors", True),
        "dtype": "auto",
        "device_map": {"": device},
        "attn_implementation": attention_of(run),
        **({"num_labels": arguments["num_labels"]} if "num_labels" in arguments else {}),
        "output_loading_info": True,
    }
    target = planned.target if planned.target.startswith("transformers.") else _class_of(run)
    call = Call(target, made)
    unpacked = unpacking(run)
    return replace(call, runtime=("quantization_config",)) if unpacked and not _is_plain(call) else call


def attention_of(run: Finished) -> str | None:
    """The run's attention, where every machine has it. Kernels differ in their last digits alone, but Gemma 2's bounded
    scores are `eager`'s: what is compared must attend alike."""
    planned = next(call for call in run.plan.stage("load") if "dtype" in call.arguments)
    attention = planned.arguments.get("attn_implementation")
    return str(attention) if attention in ("eager", "sdpa") else None


def unpacking(run: Finished) -> Call | None:
    """What unpacks the checkpoint as it is loaded, where the recipe asked for that."""
    calls = [call for call in run.plan.stage("load") if call.target.endswith(UNPACKED)]
    return calls[0] if calls else None


def _class_of(run: Finished) -> str:
    kind = "AutoModelForSequenceClassification" if run.scores else "AutoModelForCausalLM"
    return f"transformers.{kind}.from_pretrained"


def _is_plain(call: Call) -> bool:
    name = str(call.arguments["pretrained_model_name_or_path"])
    return not config_of(name, str(call.arguments["revision"])).get("quantization_config")


def refuse_quantized(call: Call) -> None:
    """ModelError if the checkpoint's own weights are quantized: there would be no 16-bit weights to merge into."""
    if call.runtime or _is_plain(call):
        return
    name = call.arguments["pretrained_model_name_or_path"]
    config = config_of(str(name), str(call.arguments["revision"]))["quantization_config"]
    how = config.get("quant_method", "unknown") if isinstance(config, dict) else "unknown"
    raise ModelError(
        f"base_model {name} is a checkpoint of quantized weights ({how}), and an adapter is merged into 16-bit weights "
        "alone. Name the model that it was made from: --base ORG/NAME@COMMIT"
    )
