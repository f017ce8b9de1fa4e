"""What may not stand together among the keys of measuring while training. Looks at written values only."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.measures import (
    ALWAYS,
    ANSWERING,
    FIGURES,
    PREFERRING,
    REWARDED,
    SCORING,
    USUAL,
    bare,
    figures_of,
    generated,
)
from finetune.recipe.method_rules import method_of, shown
from finetune.recipe.method_tables import KIND_OF

Finding = tuple[str, str]


def _has_rows(values: Mapping[str, Any]) -> bool:
    return bool(values.get("val_set_size") or values.get("test_datasets"))


def generating(values: Mapping[str, Any]) -> Iterator[Finding]:
    """Answers can be generated only where there are questions."""
    for key in ("do_causal_lm_eval", "eval_table_size"):
        if values.get(key) and not _has_rows(values):
            message = f"`{key}` asks the validation rows, but there are none: set `val_set_size: 0.05`"
            yield key, f"{message}, or name them in test_datasets"
        elif values.get(key) and values.get("train_on_inputs") is True:
            message = f"with `train_on_inputs: true` every turn is learned, and `{key}` would answer them all"
            yield key, f"{message}: set train_on_inputs: false"
    if values.get("generate_samples") and not _has_rows(values) and not values.get("sample_steps"):
        message = "`generate_samples` answers at each measurement, and nothing is measured without validation data"
        yield "generate_samples", f"{message}: set `sample_steps: 50`, or `val_set_size: 0.05`"
    if values.get("generation_do_sample") is True and not values.get("generation_temperature"):
        message = "`generation_do_sample: true` samples, which a temperature of 0 does not"
        yield "generation_do_sample", f"{message}: set `generation_temperature: 0.7`"


def figures(values: Mapping[str, Any]) -> Iterator[Finding]:
    """The best checkpoint can be chosen only by what is measured."""
    key, chosen = "metric_for_best_model", values.get("metric_for_best_model")
    if not isinstance(chosen, str) or bare(chosen) not in FIGURES:
        return
    method = method_of(values.get("rl"), values.get("reward_model"))
    if method in KIND_OF and method != "sft":
        measured = _measured_with(method)
        if bare(chosen) not in measured:
            message = f"`{key}: {chosen}` is not measured with {shown(method)}; write {' or '.join(measured)}"
            yield key, message
        return
    metrics = values.get("eval_causal_lm_metrics") or USUAL
    if not isinstance(metrics, list | tuple):
        return
    scored = figures_of([name for name in metrics if isinstance(name, str)]) if values.get("do_causal_lm_eval") else []
    known = {*ALWAYS, *scored}
    if values.get("do_causal_lm_eval") and generated([str(name) for name in metrics]):
        known |= ANSWERING.keys()
    if bare(chosen) not in known:
        message = f"`{key}: {chosen}` is not measured: set `do_causal_lm_eval: true` and list it, or what gives it, in"
        yield key, f"{message} eval_causal_lm_metrics"


def _measured_with(method: str) -> list[str]:
    """The figures of a measurement, of a method that does not imitate."""
    if KIND_OF[method] == "prompt":
        return [*REWARDED, "loss"]
    if method == "reward":
        return ["loss", *SCORING]
    return ["loss", "rewards/margins"] if method == "kto" else ["loss", *PREFERRING]
