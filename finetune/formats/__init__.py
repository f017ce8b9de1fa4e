"""Dataset formats: one module each, and the table that names them. Row -> meaning; no tokenizer, no model.

A format has `matches(row)`, by which it is detected, `COLUMNS`, which says what it reads, and `read(row, fields)`."""

from finetune.formats import alpaca, chat, completion

FORMATS = {"chat_template": chat, "alpaca": alpaca, "completion": completion}
