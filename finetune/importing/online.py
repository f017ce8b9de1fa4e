"""What rewards a script's answers, and how many answers stand together -> keys of methods that generate."""

from collections.abc import Mapping, Sequence
from typing import Any

from finetune.importing.draft import CHANGED, CONFLICT, TO_DO, Draft, Line
from finetune.importing.folding import Function
from finetune.importing.found import Object, Setting, Symbol, value_text

REWARDS = "rewards.py"


def read_rewards(trainer: Object | None, method: str, draft: Draft) -> None:
    """`trl.reward_funcs`: functions of the script, which have to be put into a file beside the recipe."""
    if method not in ("grpo", "rloo"):
        return
    setting = trainer.setting("reward_funcs") if trainer is not None else None
    given = setting.value if setting is not None else None
    names = [name for one in (given if isinstance(given, list) else [given]) if (name := _name(one))]
    advice = f"copy them into {REWARDS} beside the recipe; docs/methods.md says what such a function gets"
    if setting is not None:
        draft.tell(TO_DO, setting, "functions of the script reward answers; here they are read from a file", advice)
    else:
        draft.say(TO_DO, 0, "reward_funcs", "the file names no reward", advice)
    why = f"TO DO: put these functions into {REWARDS}"
    draft.lines["trl.reward_funcs"] = Line(names or [f"{REWARDS}:reward"], why, setting.where if setting else None)


def _name(one: Any) -> str:
    if isinstance(one, str):
        return one
    if isinstance(one, Function):
        return f"{REWARDS}:{one.text}" if one.text.isidentifier() else f"{REWARDS}:reward"
    if isinstance(one, Symbol | Object):
        text = (one.text if isinstance(one, Symbol) else one.call).rsplit(".", 1)[-1]
        return f"{REWARDS}:{text}" if text.isidentifier() else ""
    return ""


def answers_together(method: str, draft: Draft) -> None:
    """The answers to a question stand in one step, so that a step's rows are a multiple of them."""
    if method not in ("grpo", "rloo"):
        return
    count = draft.value("trl.num_generations", 2 if method == "rloo" else 8)
    rows, times = draft.value("micro_batch_size", 8), draft.value("gradient_accumulation_steps", 1)
    if not all(isinstance(number, int) for number in (count, rows, times)):
        return
    together = draft.value("trl.generation_batch_size")
    if isinstance(together, int) and together % rows:
        given = draft.lines.pop("trl.generation_batch_size")
        message = f"it is no multiple of the {rows} rows of a step, and TRL would refuse it"
        place = given.where.line if given.where is not None else 0
        draft.say(CONFLICT, place, f"generation_batch_size={together}", message, "it is left out")
    at_a_time = draft.value("trl.generation_batch_size") or rows * times
    if isinstance(at_a_time, int) and at_a_time % count:
        line = draft.lines.get("micro_batch_size")
        draft.lines.pop("trl.generation_batch_size", None)
        why = f"raised to num_generations: the {count} answers to a question stand in one step"
        draft.lines["micro_batch_size"] = Line(count, why)
        place = line.where.line if line is not None and line.where is not None else 0
        draft.say(CHANGED, place, f"per_device_train_batch_size={value_text(rows)}", why, "Unsloth does the same")
    measured = draft.value("eval_batch_size", draft.value("micro_batch_size"))
    if (draft.test_datasets or draft.value("val_set_size")) and isinstance(measured, int) and measured % count:
        draft.lines["eval_batch_size"] = Line(count, "the answers to a question stand in one measurement")


def settings_of(names: Mapping[str, Any], base: Setting) -> dict[str, Setting]:
    """The items of a mapping that is an argument, as settings of their own."""
    return {name: Setting(f"{base.name}.{name}", value, base.where) for name, value in names.items()}


def names_in(settings: Sequence[Setting]) -> str:
    return ", ".join(setting.key for setting in settings)
