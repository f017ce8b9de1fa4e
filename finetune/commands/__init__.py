"""The commands of the command line: one module each, and the table that names them. Adding one is a file and a line.

A module has `HELP` (one line), `USE` (how it is typed), `LONG` (whether it takes more than a moment), `arguments`
and `run`. Libraries are imported inside `run`, so that every other command stays quick."""

from finetune.commands import (
    chat,
    diff,
    doctor,
    evaluate,
    explain,
    export,
    generate,
    launch,
    merge,
    new,
    plan,
    preprocess,
    preview,
    push,
    report,
    runs,
    schema,
    serve,
    sweep,
    train,
    upgrade,
    validate,
)

COMMANDS = {
    "train": train,
    "new": new,
    "validate": validate,
    "upgrade": upgrade,
    "plan": plan,
    "explain": explain,
    "diff": diff,
    "preview": preview,
    "preprocess": preprocess,
    "sweep": sweep,
    "launch": launch,
    "chat": chat,
    "merge": merge,
    "export": export,
    "push": push,
    "generate": generate,
    "evaluate": evaluate,
    "serve": serve,
    "runs": runs,
    "report": report,
    "schema": schema,
    "doctor": doctor,
}
