"""Rows that a script makes into tokens itself, for transformers' Trainer -> sequence_len, and what is learned."""

import ast
from typing import Any

from finetune.importing.draft import CHANGED, TO_DO, Draft, Line
from finetune.importing.folding import Function
from finetune.importing.found import Object, Setting
from finetune.importing.script_data import Read

PLAIN = ("Trainer", "Seq2SeqTrainer")
MASK = "-100"


def read_plain(read: Read, draft: Draft) -> None:
    """Only for a trainer that gets finished tokens."""
    if read.trainer is None or read.trainer.name not in PLAIN:
        return
    _length(read, draft)
    _learned(read, draft)


def _length(read: Read, draft: Draft) -> None:
    cuts = [
        call
        for call in read.calls
        if "max_length" in call.arguments and call.name != "generate" and call.get("truncation") not in (None, False)
    ]
    if "sequence_len" in draft.lines or not cuts:
        if "sequence_len" not in draft.lines:
            message = "where rows are cut is not read; there they are as long as they are"
            draft.say(TO_DO, 0, "sequence_len", message, "set it to the longest row")
            draft.lines["sequence_len"] = Line(2048, "TO DO: the script does not say where rows are cut")
        return
    setting = cuts[-1].arguments["max_length"]
    if isinstance(setting.value, int) and not isinstance(setting.value, bool):
        draft.put("sequence_len", setting.value, setting)
    else:
        draft.unread(Setting("tokenizer.max_length", setting.value, setting.where))
        message = f"TO DO: line {setting.where.line} says where rows are cut, and could not be read"
        draft.lines["sequence_len"] = Line(2048, message)


def _learned(read: Read, draft: Draft) -> None:
    """Labels are the tokens themselves, or the script leaves some unlearned (-100)."""
    if "train_on_inputs" in draft.lines:
        return
    masks = next((line for value in read.values.values() if (line := _masked(value))), 0)
    collator = read.trainer.get("data_collator") if read.trainer is not None else None
    masks = masks or _masked(collator)
    if masks:
        draft.lines["train_on_inputs"] = Line(False, f"line {masks}: the script leaves tokens unlearned ({MASK})")
        advice = "train_on_inputs: true, if every token is learned there"
        message = "taken to leave the questions unlearned; here the answers and their end tokens are learned"
        draft.say(CHANGED, masks, f"labels of {MASK}", message, advice)
        return
    name = collator.name if isinstance(collator, Object) else ""
    every = name == "DataCollatorForLanguageModeling" or name.startswith("DataCollator")
    why = "the labels are the tokens themselves" if every else "not written: the script learns every token"
    draft.lines["train_on_inputs"] = Line(True, why)


def _masked(value: Any) -> int:
    """The line on which a function of the script writes -100; 0 for none."""
    if not isinstance(value, Function):
        return 0
    for part in ast.walk(value.node):
        if not isinstance(part, ast.UnaryOp) or not isinstance(part.op, ast.USub):
            continue
        if isinstance(part.operand, ast.Constant) and part.operand.value == 100:
            padding = "pad_token_id" in ast.unparse(value.node) and "attention_mask" not in ast.unparse(value.node)
            return 0 if padding else int(part.lineno + value.first)
    return 0
