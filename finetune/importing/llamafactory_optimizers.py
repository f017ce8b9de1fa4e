"""LLaMA-Factory's optimizers of their own (GaLore, APOLLO, Muon) -> `optimizer`, optim_args, optim_target_modules."""

from collections.abc import Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import IDLE, Draft
from finetune.importing.found import Setting
from finetune.importing.rules import converted

NAMES: Mapping[str, Mapping[str, str]] = {
    "galore": {"rank": "rank", "update_interval": "update_proj_gap", "scale": "scale", "proj_type": "proj_type"},
    "apollo": {
        "rank": "rank",
        "update_interval": "update_proj_gap",
        "scale": "scale",
        "proj": "proj",
        "proj_type": "proj_type",
        "scale_type": "scale_type",
    },
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "galore": {"rank": 16, "update_proj_gap": 200, "scale": 2.0, "proj_type": "std"},
    "apollo": {
        "rank": 16,
        "update_proj_gap": 200,
        "scale": 32.0,
        "proj": "random",
        "proj_type": "std",
        "scale_type": "channel",
    },
}


def read_optimizers(settings: Mapping[str, Setting], draft: Draft) -> None:
    for name in NAMES:
        on = settings.get(f"use_{name}")
        if on is not None and on.value is True:
            _use(name, on, settings, draft)
            continue
        for key in (f"use_{name}", *(f"{name}_{part}" for part in (*NAMES[name], "target"))):
            if key in settings:
                draft.tell(IDLE, settings[key], "asks for nothing" if key == f"use_{name}" else f"of use_{name}")
    muon = settings.get("use_muon")
    if muon is not None and muon.value is True:
        draft.lines.pop("optimizer", None)
        draft.put("optimizer", "muon", muon)
    elif muon is not None:
        draft.tell(IDLE, muon, "asks for nothing")


def _use(name: str, on: Setting, settings: Mapping[str, Setting], draft: Draft) -> None:
    draft.lines.pop("optimizer", None)
    draft.put("optimizer", f"{name}_adamw", on)
    arguments = dict(DEFAULTS[name])
    for part, ours in NAMES[name].items():
        setting = settings.get(f"{name}_{part}")
        if setting is not None:
            arguments[ours] = setting.value
            draft.tell("carried", setting, f"`optim_args: {{{ours}: {setting.value}}}`")
    draft.put("optim_args", arguments, Setting(on.name, on.value, on.where))
    target = settings.get(f"{name}_target")
    names = converted(target, to.words, draft) if target is not None else ["all"]
    if names:
        draft.put("optim_target_modules", "all_linear" if names == ["all"] else names, target or on)
