"""Which keys, and which types of rows, fit the method that a recipe asks for. Looks at written values only; knows no
library and no trainer."""

from collections.abc import Iterator, Mapping
from typing import Any

from finetune.recipe.method_tables import (
    ASKS,
    COLUMNS,
    ENTRY_LABELS,
    FORMAT_KEYS,
    GRPO_ONLY,
    KIND_OF,
    LEARNS,
    NOT_FOR,
    NOT_FOR_ANSWERS,
    OFFERS,
    ONE_ANSWER,
    OWN,
    RLOO_ONLY,
    TYPES,
)
from finetune.recipe.rewards import DOTTED, FUNCTION, FunctionName, parsed

LEARNED_TOKENS = ("prefix_tuning", "prompt_tuning", "p_tuning")
Values = Mapping[str, Any]
Finding = tuple[str, str]


def method_of(rl: Any, reward_model: Any) -> str:
    return "reward" if reward_model else str(rl or "sft")


def shown(method: str) -> str:
    """A method as a recipe writes it."""
    return {"sft": "fine-tuning (no `rl`)", "reward": "`reward_model: true`"}.get(method, f"`rl: {method}`")


def method_keys(values: Values) -> Iterator[Finding]:
    if values.get("rl") and values.get("reward_model"):
        yield "reward_model", "`rl` and `reward_model: true` are two methods. Keep one, and run the other after it"
        return
    method = method_of(values.get("rl"), values.get("reward_model"))
    kind = KIND_OF.get(method)
    if kind is None:
        return  # a value that the key does not have
    for key, methods in OWN.items():
        if _asked(values.get(key)) and method not in methods:
            yield (
                key,
                f"`{key}` counts only with {' or '.join(map(shown, methods))}; this recipe asks for {shown(method)}",
            )
    for key, why in _lacks(method, kind).items():
        if _asked(values.get(key)) and values.get(key) != ["assistant"]:
            yield key, f"`{key}` cannot be honoured with {shown(method)}: {why}. Remove it"
    if kind != "rows" and values.get("excess_length_strategy") == "split":
        yield (
            "excess_length_strategy",
            f"`split` cannot be honoured with {shown(method)}: {ONE_ANSWER}; write truncate",
        )
    if kind != "rows" and values.get("adapter") in LEARNED_TOKENS:
        message = (
            f"`adapter: {values['adapter']}` puts tokens of its own before a row, which {shown(method)} would count as "
        )
        yield "adapter", f"{message}the row's. Write adapter: lora"
    yield from _entries(values, method, kind)
    yield from _taught_nothing(values, method, kind)
    yield from _dpo(values)
    if kind == "prompt":
        yield from _rewarded(values, method)


def _taught_nothing(values: Values, method: str, kind: str) -> Iterator[Finding]:
    """Values with which the loss hangs on nothing that is learned, or cannot be computed."""
    beta, rows = values.get("rl_beta"), values.get("micro_batch_size", 2)
    if kind in ("pair", "judged") and not isinstance(beta, bool) and beta == 0:
        yield "rl_beta", f"with `rl_beta: 0` {shown(method)} learns nothing of which answer is better: set it above 0"
    if method == "kto" and not isinstance(rows, bool) and rows == 1:
        message = "`rl: kto` estimates how far the model has moved from a batch's answers to other questions"
        yield "micro_batch_size", f"{message}: set micro_batch_size to 2 or more"


def _lacks(method: str, kind: str) -> Mapping[str, str]:
    if kind == "rows":
        return {}
    return {**NOT_FOR_ANSWERS, **NOT_FOR.get(kind, {}), **NOT_FOR.get(method, {})}


def _asked(value: Any) -> bool:
    """Whether a written value asks for something; 0 is a value of its own for numbers."""
    return value is not None and value is not False and value not in ("", [], {})


def _entries(values: Values, method: str, kind: str) -> Iterator[Finding]:
    for list_key in ("datasets", "test_datasets"):
        entries = values.get(list_key)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            for key, message in _of_entry(entry, method, kind) if isinstance(entry, dict) else ():
                yield f"{list_key}.{number}.{key}", message


def _of_entry(entry: Mapping[str, Any], method: str, kind: str) -> Iterator[Finding]:
    given = entry.get("type")
    if isinstance(given, str) and given not in TYPES[kind]:
        others = [other for other, names in TYPES.items() if given in names]
        if others:
            yield (
                "type",
                f"`type: {given}` does not fit {shown(method)}, which {LEARNS[kind]}: write {OFFERS[kind]}, or "
                f"{ASKS[others[0]]}, which {LEARNS[others[0]]}",
            )
    if isinstance(given, dict):
        for key in given:
            if not _asked(given[key]) or key in FORMAT_KEYS[kind].split():
                continue
            known = [other for other, names in FORMAT_KEYS.items() if key in names.split()]
            if known:
                message = f"`type.{key}` does not fit {shown(method)}, which {LEARNS[kind]}"
                yield f"type.{key}", f"{message}; it is of one that {LEARNS[known[0]]}"
    for key, kinds in COLUMNS.items():
        if _asked(entry.get(key)) and kind not in kinds:
            yield key, f"`{key}` counts only where a row has such a column; {shown(method)} {LEARNS[kind]}"
        elif _asked(entry.get(key)) and kind == "rows" and given != "question_answer":
            yield key, f"`{key}` counts only with `type: question_answer`, of rows to imitate. Write that type"
    for key in ENTRY_LABELS if kind != "rows" else ():
        if _asked(entry.get(key)):
            yield key, f"`{key}` cannot be honoured with {shown(method)}: {ONE_ANSWER}. Remove it"


def _dpo(values: Values) -> Iterator[Finding]:
    losses, weights = values.get("dpo_loss_type"), values.get("dpo_loss_weights")
    names = [losses] if isinstance(losses, str) else losses if isinstance(losses, list) else ["sigmoid"]
    if isinstance(weights, list) and len(weights) != len(names):
        yield (
            "dpo_loss_weights",
            f"`dpo_loss_weights` has {len(weights)} weights for {len(names)} losses of dpo_loss_type",
        )
    if values.get("dpo_use_weighting") is True and {"aot", "aot_unpaired"} & set(map(str, names)):
        yield "dpo_use_weighting", "`dpo_use_weighting` cannot weigh pairs with the aot losses, which sort them"
    if values.get("dpo_use_weighting") is True and values.get("dpo_use_liger_kernel") is True:
        yield (
            "dpo_use_liger_kernel",
            "`dpo_use_weighting` needs the probabilities that dpo_use_liger_kernel never makes",
        )
    if "exo_pair" in names and not values.get("dpo_label_smoothing"):
        yield "dpo_loss_type", "`exo_pair` needs `dpo_label_smoothing` above 0, for example 0.001"
    if "sft" in names and values.get("rpo_alpha"):
        yield "rpo_alpha", "`rpo_alpha` adds the loss `sft`, which dpo_loss_type names already. Keep one"
    if values.get("orpo_alpha") and values.get("rl_beta"):
        yield "rl_beta", "`rl_beta` and `orpo_alpha` say the same thing with rl: orpo. Keep `orpo_alpha`"


def _rewarded(values: Values, method: str) -> Iterator[Finding]:
    section = values.get("trl")
    section = section if isinstance(section, dict) else {}
    funcs = section.get("reward_funcs")
    if not funcs:
        message = (
            f"`rl: {method}` needs what rewards an answer: trl: {{reward_funcs: ['rewards.py:NAME']}}, or a reward"
        )
        yield ("trl" if values.get("trl") else "rl"), f"{message} model that was trained before"
    for text in funcs if isinstance(funcs, list) else ():
        if isinstance(text, str) and (why := _no_reward(text)):
            yield "trl", why
    weights = section.get("reward_weights")
    if isinstance(weights, list) and isinstance(funcs, list) and len(weights) != len(funcs):
        yield "trl", f"`reward_weights` has {len(weights)} weights for {len(funcs)} reward_funcs"
    if _asked(section.get("beta")) and _asked(values.get("rl_beta")):
        yield "rl_beta", "`rl_beta` and `trl.beta` say the same thing. Keep one"
    for key in RLOO_ONLY if method != "rloo" else GRPO_ONLY:
        if _asked(section.get(key)):
            other = "rl: rloo" if method != "rloo" else "rl: grpo"
            yield "trl", f"`trl.{key}` counts only with {other}"
    if method == "gdpo" and section.get("multi_objective_aggregation") == "sum_then_normalize":
        yield "trl", "`rl: gdpo` is GRPO with multi_objective_aggregation: normalize_then_sum; write rl: grpo"
    length, answer = values.get("sequence_len", 2048), section.get("max_completion_length") or 512
    if isinstance(length, int) and isinstance(answer, int) and answer >= length:
        message = f"`max_completion_length` ({answer}) leaves no room for a question in sequence_len: {length}"
        yield "trl", f"{message}. Lower it, or raise sequence_len"
    yield from _groups(values, section, method)


def _no_reward(text: str) -> str | None:
    if isinstance(parsed(text), FunctionName) or FUNCTION.fullmatch(text):
        return None
    if (":" in text and "://" not in text) or text.endswith(".py"):
        return f"`reward_funcs: {text}`: a function is named FILE.py:NAME, for example rewards.py:short"
    return None


def _groups(values: Values, section: Mapping[str, Any], method: str) -> Iterator[Finding]:
    """The answers to a question stand together in what is generated at a time."""
    answers = section.get("num_generations") or (2 if method == "rloo" else 8)
    rows = values.get("micro_batch_size", 2), values.get("gradient_accumulation_steps", 4)
    if rows[0] == "auto":
        message = "`micro_batch_size: auto` is for methods whose rows do not stand in groups"
        yield "micro_batch_size", f"{message}: write a number"
    if not all(isinstance(number, int) for number in (answers, *rows)):
        return
    step = rows[0] * rows[1]
    at_a_time = section.get("generation_batch_size") or step
    if not isinstance(at_a_time, int):
        return
    if at_a_time % answers:
        yield (
            "trl",
            (
                f"{at_a_time} answers are generated at a time (micro_batch_size x gradient_accumulation_steps, or "
                f"trl.generation_batch_size), which is no multiple of num_generations: {answers}"
            ),
        )
    if at_a_time % rows[0]:
        yield "trl", f"`generation_batch_size: {at_a_time}` is no multiple of micro_batch_size: {rows[0]}"
    held_out = values.get("val_set_size") or values.get("test_datasets")
    measured = section.get("num_generations_eval") or answers
    batch = values.get("eval_batch_size") or rows[0]
    if held_out and isinstance(measured, int) and isinstance(batch, int) and batch % measured:
        yield (
            "trl",
            (
                f"validation needs eval_batch_size: {batch} to be a multiple of its {measured} answers to a question: "
                "write eval_batch_size, or trl.num_generations_eval"
            ),
        )


def dotted(text: str) -> tuple[str, str] | None:
    """(file, function) of Axolotl's `rewards.short`, if the text is one."""
    found = DOTTED.fullmatch(text)
    return (f"{found['module']}.py", found["name"]) if found else None
