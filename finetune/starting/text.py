"""What was seen and chosen -> the recipe's text, each line with its reason. Decides only the wording and the order."""

import json
import re
import shlex
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.recipe.source import plain
from finetune.starting.choices import BYTES, Choices
from finetune.starting.data import Data
from finetune.starting.model import Model

COLUMN = 34
"""Where comments begin, as in the recipes that are shipped."""
WIDTH = 116
HALVE = "; halve it when memory runs out,"
_PLAIN = re.compile(r"[A-Za-z0-9_./~][A-Za-z0-9_./@+~-]*")


@dataclass(frozen=True)
class Place:
    """`file`: the recipe as one names it in a command. `schema`: where its schema lies, a path or an address."""

    file: str
    output_dir: str
    schema: str | None = None


def recipe_text(model: Model, data: Data, chosen: Choices, place: Place) -> str:
    blocks = (
        _head(model, data, chosen, place),
        _model(model, chosen),
        _data(model, data, chosen),
        _adapter(chosen),
        _loop(data, chosen),
        _watching(data, chosen),
        _output(chosen, place),
    )
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def scalar(value: Any) -> str:
    """A value as YAML; text in quotes only where it would mean something else without them."""
    if not isinstance(value, str):
        return json.dumps(value)
    if _PLAIN.fullmatch(value) and isinstance(plain(value), str):
        return value
    return json.dumps(value.replace("${", "\\${"), ensure_ascii=not value.isprintable())


def _line(key: str, value: object, why: str = "") -> str:
    text = f"{key}: {value}"
    if not why:
        return text
    if len(text) + len(why) + 3 > WIDTH:
        indent = key[: len(key) - len(key.lstrip())]
        return "\n".join([*_comment(why, indent), text])
    return f"{text:<{COLUMN - 1}} # {why}" if len(text) < COLUMN else f"{text}  # {why}"


def _comment(text: str, indent: str = "") -> list[str]:
    """Text as comment lines; column names and file names may hold anything, so only what prints gets in."""
    clean = "".join(letter if letter.isprintable() else "?" for letter in " ".join(text.split()))
    lines = textwrap.wrap(clean, WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False)
    return [f"{indent}# {line}" for line in lines]


def _head(model: Model, data: Data, chosen: Choices, place: Place) -> list[str]:
    if place.schema:
        lines = [f"# yaml-language-server: $schema={place.schema}"]
    else:
        lines = [
            "# Help with the keys in an editor: finetune schema > recipe.schema.json, and as this file's first line",
            '#   "# yaml-language-server: $schema=recipe.schema.json" without the quotes',
        ]
    memory = "of memory" if chosen.gpu is None else f"of the GPU's {chosen.gpu:g}"
    lines += ["#", *_comment(f"{model.short} on {data.path.rsplit('/', 1)[-1]}: {chosen.title}.")]
    lines += _comment(f"Model {model.size} parameters, {model.size_from}; about {chosen.needs:.0f} GB {memory}.")
    if chosen.fault:
        lines += ["#", *_comment(chosen.fault)]
    if chosen.gpu is None and model.billions >= 1:
        lines += _comment("Written for a machine without a GPU; a model of this size is slow there.")
    gpu = "" if chosen.gpu is None else f" --gpu {chosen.gpu:g}"
    commands = (
        (f"finetune validate {place.file}", "every fault, before a GPU is paid for"),
        (f"finetune plan {place.file}{gpu}", "every call of the run"),
        (f"finetune {place.file} max_steps=20 {shlex.quote(f'output_dir={place.output_dir}_try')}", "a short try"),
        (f"finetune {place.file}", "the run"),
    )
    width = min(max(len(command) for command, _ in commands), 84)
    return [*lines, *(f"#   {command:<{width}}  {says}" for command, says in commands)]


def _model(model: Model, chosen: Choices) -> list[str]:
    limit = f"the model reads {model.positions:,} at most" if model.positions else "longer rows cost more memory"
    if chosen.shortened:
        limit = "short, so that it fits the GPU"
    lines = [
        _line("base_model", scalar(model.name)),
        _line("backend", "auto", "unsloth where it is installed and can, else transformers"),
        _line("sequence_len", chosen.sequence_len, f"tokens of a row at most; {limit}"),
    ]
    if chosen.method == "qlora":
        lines.append(_line("load_in_4bit", "true", f"{BYTES['qlora']} bytes a parameter instead of {BYTES['lora']:g}"))
    return [
        *lines,
        _line("bf16", "auto", "bfloat16 where the GPU can,"),
        _line("fp16", "auto", "float16 where it cannot"),
    ]


def _data(model: Model, data: Data, chosen: Choices) -> list[str]:
    counted = f"{data.count[0].upper()}{data.count[1:]}. " if data.rows else ""
    lines = [*_comment(counted + data.seen), *_comment(f"TO DO: {data.todo}" if data.todo else "")]
    lines += ["datasets:", _line("  - path", scalar(data.path))]
    if data.hub:
        lines.append(_line("    split", "train"))
    if data.form:
        lines.append(_line("    type", data.form))
    else:
        lines.append("    # type: chat_template         # unset: told by the columns of the first row")
    lines += _nested(data.entry, "    ")
    templated = data.form in (None, "chat_template", "question_answer")
    if templated:
        name, why = _template(model)
        lines.append(_line("chat_template", name, why))
    if templated or data.form == "alpaca":  # plain text has no questions
        why = "only the answers are learned, each with its end; true: questions too"
        lines.append(_line("train_on_inputs", "false", why))
    lines.append(_line("excess_length_strategy", "drop", "longer rows are left out and counted; truncate cuts them"))
    if data.longest > 3 * chosen.sequence_len:
        lines[-1:] = [
            *_comment(f"Of the rows looked at, the longest has about {data.longest // 4:,} tokens (4 letters each)."),
            _line("excess_length_strategy", "truncate", "longer rows are cut and counted; drop leaves them out"),
        ]
    return [*lines, _validation(data, chosen)]


def _validation(data: Data, chosen: Choices) -> str:
    size = chosen.validation
    why = "share of the rows that is kept aside to measure on"
    if size == 0:
        why = "too few rows to keep some aside; with more, 0.05 measures what is learned"
    elif size >= 1:
        why = f"rows of the {data.rows} that are kept aside to measure on"
    return _line("val_set_size", f"{size:g}", why)


def _nested(values: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{key}:", *_nested(value, indent + "  ")]
        elif isinstance(value, Sequence) and not isinstance(value, str):
            lines.append(f"{indent}{key}: [{', '.join(map(scalar, value))}]")
        else:
            lines.append(f"{indent}{key}: {scalar(value)}")
    return lines


def _template(model: Model) -> tuple[str, str]:
    if model.template == "own":
        return "tokenizer_default", "the model's own, whose turn ends it knows"
    if model.fitting:
        return model.fitting, "the model brings none; its tokenizer knows these markers"
    if model.template == "none":
        return "tokenizer_default", "TO DO: the model brings none, so take its instruct version for messages"
    return "tokenizer_default", "the model's own; for one without, chatml, llama3 or phi_3"


def _adapter(chosen: Choices) -> list[str]:
    if chosen.method == "full":
        lines = ["# No adapter: all weights are trained, at about 16 bytes a parameter."]
    else:
        lines = [
            _line("adapter", chosen.method),
            _line("lora_r", 16, "size of the adapter; more learns more and takes more"),
            _line("lora_alpha", 32, "its strength: usually once or twice lora_r"),
            _line("lora_dropout", 0, "0.05 if it learns the rows by heart"),
            "# lora_target_modules: [q_proj, v_proj]   # unset: every linear layer but the output head",
        ]
    checkpointing, why = "true", "less memory for a little more time"
    if chosen.gpu is None:
        checkpointing, why = "false", "true saves memory and takes longer"
    elif chosen.method != "full":
        checkpointing, why = "unsloth", "less memory; ordinary checkpointing where Unsloth is not the backend"
    return [*lines, _line("gradient_checkpointing", checkpointing, why)]


def _loop(data: Data, chosen: Choices) -> list[str]:
    rows = f"{chosen.effective_batch} {'row' if chosen.effective_batch == 1 else 'rows'} a step"
    if chosen.effective_batch < 8:
        rows += ", since there are few"
    more = chosen.micro_batch > 1
    full = chosen.method == "full"
    passes = "passes over the data" if chosen.epochs > 1 else "one pass to begin with; 3 suit a few thousand rows"
    eight_bit = chosen.gpu is not None and not full
    return [
        _line("micro_batch_size", chosen.micro_batch, f"rows at once{HALVE if more else ''}"),
        _line("gradient_accumulation_steps", chosen.accumulation, f"{'and double this: ' * more}together {rows}"),
        _line("num_epochs", chosen.epochs, passes),
        _line("learning_rate", *(("1e-5", "usual for all weights") if full else ("2e-4", "usual for adapters"))),
        _line("lr_scheduler", "cosine", "falls to zero at the end of the run"),
        _line("warmup_ratio", 0.05, "after rising in the first twentieth of the steps"),
        _line("optimizer", *(("adamw_8bit", "a quarter of Adam's memory") if eight_bit else ("adamw_torch",))),
        _line("weight_decay", 0.01),
        _line("seed", 42, "the same seed, data and machine give the same run"),
    ]


def _watching(data: Data, chosen: Choices) -> list[str]:
    steps = (data.rows or 10**6) * chosen.epochs / chosen.effective_batch
    lines = [_line("logging_steps", 1 if steps < 100 else 10, "steps between two lines of metrics")]
    if chosen.validation:
        lines.append(_line("eval_steps", 0.25, "validation loss after each quarter of the run"))
    return [
        *lines,
        _line("save_steps", 0.25, "and a checkpoint; the end is saved in any case"),
        _line("save_total_limit", 2, "the newest ones are kept"),
    ]


def _output(chosen: Choices, place: Place) -> list[str]:
    result = "model" if chosen.method == "full" else "adapter"
    why = f"{result}, plan, metrics and answers; relative to where you start the run"
    lines = [_line("output_dir", scalar(place.output_dir), why)]
    if chosen.validation:
        lines += ['# sample_prompts: ["Who are you?"]      # unset: the first questions of the validation rows']
    else:
        lines += ["sample_prompts:                   # asked before and after training; write your own"]
        lines += ["  - What can you help me with?"]
    return [*lines, _line("generation_max_new_tokens", 128, "of each answer, before and after training")]
