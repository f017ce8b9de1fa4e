"""A configuration of LLaMA-Factory, torchtune or TRL -> a draft: which tool's it is, by its keys. Opens no file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from finetune.errors import Fault, RecipeError, UsageError, Where
from finetune.importing import llamafactory, torchtune, trl_yaml
from finetune.importing.draft import CHANGED, Draft
from finetune.importing.found import Setting
from finetune.importing.model_arguments import TRL_MODEL
from finetune.importing.training_arguments import TABLE
from finetune.importing.trl_arguments import METHODS, VERSION
from finetune.recipe.source import Source, read_text

AXOLOTL = {"base_model", "sequence_len", "micro_batch_size", "sample_packing", "lora_target_linear", "train_on_inputs"}
FACTORY = {"stage", "finetuning_type", "cutoff_len", "lora_rank", "lora_target", "dataset_dir", "template"}
WORDS = {"yes": True, "on": True, "no": False, "off": False}


def read_configuration(name: str, text: str, method: str | None, folder: Path, first: int = 0) -> Draft:
    """YAML or JSON of LLaMA-Factory, torchtune or TRL. `first`: lines of the file before the text."""
    source = read_text(name, _untagged(text))
    places = {key: replace(where, line=where.line + first) for key, where in source.lines.items()}
    source = replace(source, lines=places)
    tool = tool_of(source.data)
    if tool == "torchtune":
        source = replace(source, data=Filling(name, source.data).filled(source.data))
    if tool == "axolotl":
        where = Where(name, first + 1, 1)
        message = f"this is an Axolotl configuration, which is a recipe already: finetune validate {name}"
        raise RecipeError(Fault(f"{message}; old spellings are rewritten by `finetune upgrade {name}`", where))
    source = replace(source, data=as_yaml_1_1(source.data))
    settings = settings_of(source)
    comments = "\n".join(re.findall(r"#.*", text))
    if tool == "torchtune":
        draft = Draft(name, f"torchtune {torchtune.VERSION}")
        torchtune.read_torchtune(source, settings, comments, draft)
    elif tool == "llamafactory":
        draft = Draft(name, f"LLaMA-Factory {llamafactory.VERSION}")
        llamafactory.read_factory(settings, folder, draft)
    else:
        draft = Draft(name, f"TRL {VERSION}")
        chosen, why = (method, "") if method else trl_yaml.method_of(source.data, f"{Path(name).name} {comments}")
        if why == "no key says another":
            draft.say(CHANGED, 0, "method", "taken for SFT, since no key says another", "if it is not: --method dpo")
        elif why == trl_yaml.NAMED and chosen != "sft":
            draft.say(CHANGED, 0, "method", f"taken for {chosen}, {why}", "if it is not: --method sft")
        trl_yaml.read_trl(settings, str(chosen), draft)
    draft.account_for(settings.values())
    return draft


def _untagged(text: str) -> str:
    """Without the tags of plain values: other tools write `!!float 5e-7` where a recipe's reader needs no tag."""
    if re.search(r":\s*\{\{|^\s*\{%", text, re.M):
        message = "this is a template, with places in {{ }} to be filled in; import the file that is made from it"
        raise UsageError(message)
    return re.sub(r"(?m)^(\s*(?:- )?[\w.-]+:\s+|\s*- )!!(?:float|int|bool|null)\s+", r"\1", text)


def as_yaml_1_1(value: Any) -> Any:
    """As these tools read it: `yes`, `no`, `on` and `off` are true and false to them, and texts to a recipe."""
    if isinstance(value, Mapping):
        return {key: as_yaml_1_1(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_yaml_1_1(inner) for inner in value]
    return WORDS.get(value.lower(), value) if isinstance(value, str) else value


def settings_of(source: Source) -> dict[str, Setting]:
    """The keys at the top, each with its line."""
    return {key: Setting(key, value, source.where((key,))) for key, value in source.data.items()}


def tool_of(data: Mapping[str, Any]) -> str:
    """axolotl, torchtune, llamafactory or trl, by the keys at the top. UsageError where it is none of them."""
    if _has_component(data):
        return "torchtune"
    if "base_model" in data and "model_name_or_path" not in data and len(AXOLOTL & set(data)) > 1:
        return "axolotl"
    if FACTORY & set(data) and ("model_name_or_path" in data or len(FACTORY & set(data)) > 1):
        return "llamafactory"
    known = {*TABLE, *TRL_MODEL, *trl_yaml.SCRIPT, *(name for table in METHODS.values() for name in table)}
    if len(known & set(data)) >= max(2, len(data) // 3):
        return "trl"
    if "base_model" in data:
        return "axolotl"
    shown = ", ".join(list(map(str, data))[:6])
    raise UsageError(
        f"its keys ({shown}) are not those of LLaMA-Factory, TRL, torchtune or a recipe; a script (.py), a notebook "
        "(.ipynb) or a text with code blocks can be imported too"
    )


@dataclass
class Filling:
    """`${other.key}` replaced by what stands there, as OmegaConf does it. `left`: letters and values that may still
    come of it: keys that name each other several times would else fill the memory."""

    name: str
    top: Mapping[str, Any]
    left: int = 1_000_000

    def filled(self, value: Any, depth: int = 0) -> Any:
        """UsageError where it comes to more than any configuration holds."""
        self._spend(1)
        if isinstance(value, Mapping):
            return {key: self.filled(item, depth) for key, item in value.items()}
        if isinstance(value, list):
            return [self.filled(item, depth) for item in value]
        if not isinstance(value, str) or depth > 5:
            return value
        whole = re.fullmatch(r"\$\{([\w.]+)\}", value)
        if whole:
            found = self._at(whole[1])
            return value if found is None else self.filled(found, depth + 1)
        return re.sub(r"\$\{([\w.]+)\}", lambda one: self._text(self._at(one[1]) or one[0], depth + 1), value)

    def _text(self, value: Any, depth: int) -> str:
        text = str(self.filled(value, depth))
        self._spend(len(text))
        return text

    def _spend(self, count: int) -> None:
        self.left -= count
        if self.left < 0:
            raise UsageError(f"{self.name}: its `${{…}}` come to more than any configuration holds; write the values")

    def _at(self, path: str) -> Any:
        found: Any = self.top
        for part in path.split("."):
            found = found.get(part) if isinstance(found, Mapping) else None
        return found


def _has_component(value: Any) -> bool:
    if isinstance(value, Mapping):
        return "_component_" in value or any(map(_has_component, value.values()))
    return isinstance(value, list) and any(map(_has_component, value))
