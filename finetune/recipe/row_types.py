"""Names of the types of rows that hold preferences, judgements or questions, by Axolotl's names where it has them.
Those to imitate are in rows.py."""

from typing import Literal

PairForm = Literal[
    "chat_template",
    "chat_template.argilla",
    "chat_template.argilla_chat",
    "chatml",
    "chatml.argilla",
    "chatml.argilla_chat",
    "chatml.icr",
    "chatml.intel",
    "chatml.prompt_pairs",
    "chatml.ultra",
    "llama3",
    "llama3.argilla",
    "llama3.argilla_chat",
    "llama3.icr",
    "llama3.intel",
    "llama3.prompt_pairs",
    "llama3.ultra",
    "zephyr.nectar",
    "bradley_terry.chat_template",
    "bradley_terry.llama3",
    "passthrough",
    "user_defined",
]
JudgedForm = Literal[
    "chat_template",
    "chatml",
    "chatml.argilla",
    "chatml.argilla_chat",
    "chatml.intel",
    "chatml.prompt_pairs",
    "chatml.ultra",
    "llama3",
    "llama3.argilla",
    "llama3.argilla_chat",
    "llama3.intel",
    "llama3.prompt_pairs",
    "llama3.ultra",
    "passthrough",
    "user_defined",
]
PromptForm = Literal["chat_template", "passthrough"]
