"""TrainingArguments that are read together: length of the run, warm-up, number types, saving, measuring, trackers.

Takes settings and a draft; the tables of the single ones are in training_arguments.py."""

from collections.abc import Iterable, Mapping
from typing import Any

from finetune.importing import converting as to
from finetune.importing.draft import CHANGED, CONFLICT, IDLE, LOST, UNREAD, Draft
from finetune.importing.found import Setting, Symbol, known
from finetune.importing.loop_trackers import read_trackers, word
from finetune.importing.rules import Read, Table, apply, converted
from finetune.importing.training_arguments import TABLE

Settings = Mapping[str, Setting]
LIGER = {
    "rope": "liger_rope",
    "rms_norm": "liger_rms_norm",
    "layer_norm": "liger_layer_norm",
    "swiglu": "liger_glu_activation",
    "geglu": "liger_glu_activation",
    "cross_entropy": "liger_cross_entropy",
    "fused_linear_cross_entropy": "liger_fused_linear_cross_entropy",
}


def read_arguments(settings: Iterable[Setting], draft: Draft, more: Table | None = None) -> Settings:
    """Every TrainingArgument, and those that `more` adds; what is left for `measuring` when the data are known."""
    table = {**TABLE, **(more or {})}
    named: dict[str, Setting] = {}
    for setting in settings:
        named[setting.key] = setting
    together = {
        name for name in named if isinstance(table.get(name), Read) and isinstance(TABLE.get(name), Read)
    } - own_of(more)
    apply([named[name] for name in named if name not in together], table, draft)
    group = {name: named[name] for name in together}
    _length(group, draft)
    _warmup(group, draft)
    _saving(group, draft)
    read_trackers(group, draft)
    _rest(group, draft)
    return named


def own_of(more: Table | None) -> set[str]:
    """Names that a tool's own table says otherwise of."""
    return set(more or ())


def value_of(settings: Settings, name: str, default: Any = None) -> Any:
    return settings[name].value if name in settings else default


def _number(setting: Setting, draft: Draft) -> Any:
    """Its number, or None where it has none, which is told."""
    return converted(setting, to.number, draft)


def _length(settings: Settings, draft: Draft) -> None:
    steps, epochs = settings.get("max_steps"), settings.get("num_train_epochs")
    counted = False
    if steps is not None and steps.value is not None and (found := _number(steps, draft)) is not None:
        counted = found > 0
        if counted:
            draft.put("max_steps", int(found), steps)
        else:
            draft.tell(IDLE, steps, "asks for nothing: the epochs count")
    elif steps is not None and steps.value is None:
        draft.tell(IDLE, steps, "asks for nothing: the epochs count")
    if epochs is None:
        return
    if counted:
        draft.tell(IDLE, epochs, "has no effect there either: max_steps counts")
    elif (found := _number(epochs, draft)) is not None:
        draft.put("num_epochs", found, epochs)


def _warmup(settings: Settings, draft: Draft) -> None:
    steps, ratio = settings.get("warmup_steps"), settings.get("warmup_ratio")
    found = _number(steps, draft) if steps is not None and steps.value is not None else None
    if steps is not None and found is not None:
        if found > 0:
            draft.put("warmup_steps", found, steps)
        elif ratio is None:
            draft.tell(IDLE, steps, "no warm-up, as when it is not written")
        else:
            draft.tell(IDLE, steps, "asks for nothing: warmup_ratio counts")
    elif steps is not None and steps.value is None:
        draft.tell(IDLE, steps, "asks for nothing")
    if ratio is None:
        return
    share = _number(ratio, draft) if ratio.value is not None else 0
    if share is None:
        return
    if found and share:
        draft.tell(CONFLICT, ratio, f"has no effect there: warmup_steps is {found} and wins")
    elif share:
        draft.put("warmup_ratio", share, ratio)
    else:
        draft.tell(IDLE, ratio, "no warm-up, as when it is not written")


def _saving(settings: Settings, draft: Draft) -> None:
    strategy, steps = settings.get("save_strategy"), settings.get("save_steps")
    chosen = str(word(strategy.value)) if strategy is not None else "steps"
    if strategy is not None:
        if not known(strategy.value) and not isinstance(strategy.value, Symbol):
            draft.unread(strategy)
        elif chosen in ("epoch", "no"):
            draft.put("save_strategy", chosen, strategy)
        elif chosen == "steps":
            draft.tell(IDLE, strategy, "save_steps says which")
        else:
            near = "`load_best_model_at_end: true` keeps the best of regular checkpoints"
            draft.tell(LOST, strategy, f"there is no `save_strategy: {chosen}`", near)
    if steps is None:
        return
    found = _number(steps, draft)
    if found is not None and chosen in ("epoch", "no"):
        draft.tell(IDLE, steps, f"has no effect there either: save_strategy is {chosen}")
    elif found is not None:
        draft.put("save_steps", found, steps)


def measuring(settings: Settings, draft: Draft, there_are_rows: bool) -> None:
    """When validation rows are measured, once it is known whether there are any."""
    strategy = settings.get("eval_strategy") or settings.get("evaluation_strategy")
    chosen = str(word(strategy.value)) if strategy is not None else "no"
    names = ("eval_steps", "per_device_eval_batch_size", "eval_strategy", "evaluation_strategy")
    if not there_are_rows:
        for name in names:
            if name in settings:
                wanted = name.endswith("strategy") and chosen != "no"
                message = "there are no validation rows that were understood" if wanted else "nothing is measured"
                advice = "add `val_set_size: 0.05`, or test_datasets, and `eval_steps`" if wanted else ""
                draft.tell(LOST if wanted else IDLE, settings[name], message, advice)
        return
    if strategy is None:
        draft.assume("eval_strategy", "no", "not written; transformers' default measures nothing while training")
    elif not known(strategy.value) and not isinstance(strategy.value, Symbol):
        draft.unread(strategy)
    elif chosen == "steps":
        draft.tell(IDLE, strategy, "eval_steps says which")
    elif chosen in ("epoch", "no"):
        draft.put("eval_strategy", chosen, strategy)
    else:
        draft.tell(UNREAD, strategy, f"{chosen!r} is none of no, steps and epoch")
    _eval_steps(settings, chosen, draft)
    rows = settings.get("per_device_eval_batch_size")
    if rows is None:
        if draft.value("micro_batch_size") != 8:
            draft.assume("eval_batch_size", 8, "not written; transformers' default")
    elif (found := _number(rows, draft)) is not None:
        draft.put("eval_batch_size", int(found), rows)


def _eval_steps(settings: Settings, chosen: str, draft: Draft) -> None:
    steps = settings.get("eval_steps")
    if steps is not None and steps.value is not None:
        found = _number(steps, draft)
        if found is not None and chosen != "steps":
            draft.tell(IDLE, steps, f"has no effect there either: eval_strategy is {chosen}")
        elif found is not None:
            draft.put("eval_steps", found, steps)
    elif chosen == "steps":
        draft.assume("eval_steps", draft.value("logging_steps", 500), "not written; then it is logging_steps")


def _rest(settings: Settings, draft: Draft) -> None:
    _logging(settings, draft)
    compiling = value_of(settings, "torch_compile_backend") or value_of(settings, "torch_compile_mode")
    if compiling and draft.value("torch_compile") is not False:
        draft.assume("torch_compile", True, "asked for by its backend or mode")
    for name in ("torch_compile_backend", "torch_compile_mode"):
        if name in settings and settings[name].value:
            draft.put(name, settings[name].value, settings[name])
        elif name in settings:
            draft.tell(IDLE, settings[name], "asks for nothing")
    draft.switch(settings.get("adafactor"), "optimizer", "adafactor")
    _liger(settings, draft)
    _order(settings, draft)
    if "optim_target_modules" in settings:
        setting = settings["optim_target_modules"]
        value = setting.value
        value = "all_linear" if value == "all-linear" else [value] if isinstance(value, str) else value
        if value is None:
            draft.tell(IDLE, setting, "asks for nothing")
        else:
            draft.put("optim_target_modules", value, setting)
    if "fsdp" in settings:
        setting = settings["fsdp"]
        if setting.value in (None, False, "", []):
            draft.tell(IDLE, setting, "asks for nothing")
        else:
            draft.put("fsdp_version", 2, setting, "FSDP2 instead of the FSDP1 that this asks for")


def _logging(settings: Settings, draft: Draft) -> None:
    setting = settings.get("logging_steps")
    if setting is None or (found := _number(setting, draft)) is None:
        return
    if 0 < found < 1:
        draft.tell(LOST, setting, "a share of all steps; here it is a number of steps", "write logging_steps")
    else:
        draft.put("logging_steps", int(found), setting)


def _liger(settings: Settings, draft: Draft) -> None:
    on, detail = settings.get("use_liger_kernel"), settings.get("liger_kernel_config")
    if on is not None and on.value is True:
        chosen = detail.value if detail is not None and isinstance(detail.value, Mapping) else None
        wanted = chosen or dict.fromkeys(("rope", "rms_norm", "swiglu", "fused_linear_cross_entropy"), True)
        for name, value in wanted.items():
            if LIGER.get(name) and value is True:
                draft.put(LIGER[name], True, on)
    elif on is not None:
        draft.tell(IDLE, on, "asks for nothing")
    if detail is not None:
        draft.tell(IDLE if not detail.value else CHANGED, detail, "read with use_liger_kernel")


def _order(settings: Settings, draft: Draft) -> None:
    setting = settings.get("train_sampling_strategy")
    if setting is None:
        return
    if setting.value == "group_by_length":
        draft.put("group_by_length", True, setting)
    elif setting.value == "sequential":
        draft.put("curriculum_sampling", True, setting)
    else:
        draft.tell(IDLE, setting, "rows come in random order, as when it is not written")
