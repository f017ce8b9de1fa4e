"""Which libraries a script calls, and for which of their versions the tables are."""

from collections.abc import Sequence

from finetune.importing import peft_arguments, training_arguments, trl_arguments, unsloth_arguments
from finetune.importing.found import Object

KNOWN = {
    "unsloth": f"Unsloth {unsloth_arguments.VERSION}",
    "trl": f"TRL {trl_arguments.VERSION}",
    "transformers": f"transformers {training_arguments.VERSION}",
    "peft": f"peft {peft_arguments.VERSION}",
}


def versions_of(calls: Sequence[Object]) -> str:
    """`script; Unsloth 2026.10.7, TRL 1.14.2`."""
    used = [text for name, text in KNOWN.items() if any(call.call.startswith(f"{name}.") for call in calls)]
    return f"Python; read by {', '.join(used)}" if used else "Python"
