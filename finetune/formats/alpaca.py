"""Alpaca's instruction, input and output, with the prompts that Axolotl trains them under. Knows the prompts' wording;
knows no tokenizer.

The first wording is Stanford Alpaca's (github.com/tatsu-lab/stanford_alpaca); models were trained on each, so all must
be kept to the letter."""

from dataclasses import replace

from finetune.formats.instruct import Columns, Instruct, Wording

_TASK = "Below is an instruction that describes a task"
_WITH_INPUT = f"{_TASK}, paired with an input that provides further context. "
_ANSWER = "Write a response that appropriately completes the request."
_USER = "Below is an instruction from a USER that describes a task"
STYLES = {
    "instruct": Wording(
        "### Instruction:\n{instruction}\n\n### Input:\n{input}\n\n### Response:\n",
        "### Instruction:\n{instruction}\n\n### Response:\n",
        "{system}\n\n",
        f"{_WITH_INPUT}{_ANSWER}",
        f"{_TASK}. {_ANSWER}",
    ),
    "chat": Wording(
        "USER: {instruction}\n{input}\nASSISTANT:",
        "USER: {instruction}\nASSISTANT:",
        "SYSTEM: {system}\n",
        f"{_WITH_INPUT}{_ANSWER}",
        f"{_TASK}. {_ANSWER}",
    ),
    "chatml": Wording(
        "<|im_start|>user\n{instruction}\n{input}<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>user\n{instruction}<|im_end|>\n<|im_start|>assistant\n",
        "<|im_start|>system\n{system}<|im_end|>\n",
        f"{_WITH_INPUT}{_ANSWER}",
        f"{_TASK}. {_ANSWER}",
    ),
    "phi": Wording(
        "<|user|>\n{instruction}<|end|>{input}<|assistant|>",
        "<|user|>\n{instruction}<|end|>\n<|assistant|>\n",
        "<|system|>\n{system}<|end|>\n",
        f"{_WITH_INPUT}{_ANSWER}",
        f"{_TASK}. {_ANSWER}",
    ),
}
"""Axolotl's prompt styles; `type: alpaca:chat` names the second."""
CONCISE = replace(
    STYLES["chat"],
    system=f"{_USER}, paired with an input that provides further context. The ASSISTANT writes a response that "
    "concisely and appropriately completes the request.\n\n",
    bare_system=f"{_USER}. The ASSISTANT writes a response that appropriately and concisely completes the request.\n\n",
)


def silent(wording: Wording) -> Wording:
    """The wording without a system message of its own."""
    return replace(wording, system="", bare_system="")


_ORCA = Wording(
    "### Human:\n{instruction}\n### Additional Context:\n{input}\n### Assistant:\n",
    "### Human:\n{instruction}\n### Assistant:\n",
    "### System:\n{system}\n",
)
_ALPACA = Columns("instruction", "output", "input")
_SYSTEM = Columns("instruction", "output", "input", "system")
_OPEN_ORCA = Columns("question", "response", None, "system_prompt")
_SAYS = "`instruction`, `output` and, if there is one, `input`"
_SAYS_SYSTEM = "`instruction`, `output`, `system` and, if there is one, `input`"
_SAYS_ORCA = "`system_prompt`, `question` and `response`"

SYSTEM = {
    "alpaca_w_system.load_instruct": Instruct(
        _SYSTEM, silent(STYLES["instruct"]), _SAYS_SYSTEM, ("instruction", "output", "system")
    ),
    "alpaca_w_system": Instruct(_SYSTEM, silent(STYLES["chat"]), _SAYS_SYSTEM),
    "alpaca_w_system.load_open_orca": Instruct(
        _OPEN_ORCA, _ORCA, _SAYS_ORCA, ("system_prompt", "question", "response")
    ),
    "alpaca_w_system.load_open_orca_chatml": Instruct(_OPEN_ORCA, silent(STYLES["chatml"]), _SAYS_ORCA),
}
"""Those whose rows bring a system message; a row with an empty one has none."""
_STYLED = ("chat", "chatml", "phi")
_GPTEACHER = Columns("instruction", "response", "input")
_OASST = Columns("INSTRUCTION", "RESPONSE")
_SAYS_GPTEACHER = "`instruction`, `response` and, if there is one, `input`"
_SAYS_OASST = "`INSTRUCTION` and `RESPONSE`"
PLAIN = {
    "alpaca": Instruct(_ALPACA, STYLES["instruct"], _SAYS, ("instruction", "output")),
    "alpaca:chat": Instruct(_ALPACA, STYLES["chat"], _SAYS),
    "alpaca:chatml": Instruct(_ALPACA, STYLES["chatml"], _SAYS),
    "alpaca:phi": Instruct(_ALPACA, STYLES["phi"], _SAYS),
    "alpaca_instruct.load_no_prompt": Instruct(_ALPACA, silent(STYLES["instruct"]), _SAYS),
    "alpaca_chat.load_concise": Instruct(_ALPACA, CONCISE, _SAYS),
    "alpaca_chat.load_no_prompt": Instruct(_ALPACA, silent(STYLES["chat"]), _SAYS),
    "gpteacher": Instruct(_GPTEACHER, STYLES["instruct"], _SAYS_GPTEACHER, ("instruction", "response")),
    **{f"gpteacher:{style}": Instruct(_GPTEACHER, STYLES[style], _SAYS_GPTEACHER) for style in _STYLED},
    "oasst": Instruct(_OASST, STYLES["instruct"], _SAYS_OASST, ("INSTRUCTION", "RESPONSE")),
    **{f"oasst:{style}": Instruct(_OASST, STYLES[style], _SAYS_OASST) for style in _STYLED},
}
"""Those whose system message, if any, is the wording's own."""


def prompt(instruction: str, extra: str = "") -> str:
    """The text an answer continues."""
    return STYLES["instruct"].prompt(instruction, extra).text
