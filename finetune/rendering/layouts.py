"""The chat templates that are kept by name: jinja, and the marks that must be single tokens. The layouts are facts of
the model families; the wording here is ours. Knows no tokenizer."""

from dataclasses import dataclass

# `.strip()` where a family's own template strips. A leading bos_token where the family's does. A family without system
# messages has its first question after the system message and an empty line.
_FOLDED = (
    "{% if messages[0]['role'] == 'system' %}{% set lead = messages[0]['content'] ~ '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set lead = '' %}{% set turns = messages %}{% endif %}"
)
_CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
    "{{ message['content'].strip() }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)
# The assistant's header follows a question at once, asked for or not.
_PHI3 = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}<|end|>\n{% else %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n"
    "{% if message['role'] != 'system' %}<|assistant|>\n{% endif %}{% endif %}{% endfor %}"
)
# Phi-3.5's own leaves an empty system message out.
_PHI35 = (
    "{% for message in messages %}{% if message['role'] != 'system' or message['content'] %}"
    "<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_PHI4 = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}<|im_sep|>{{ message['content'] }}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant<|im_sep|>{% endif %}"
)
_GEMMA = (
    "{{ bos_token }}"
    + _FOLDED
    + "{% for message in turns %}<start_of_turn>{{ 'model' if message['role'] == 'assistant' else message['role'] }}\n"
    "{{ lead if loop.first }}{{ message['content'].strip() }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)


def _mistral(before: str, after: str, answer: str, said: str = "message['content']") -> str:
    return (
        "{{ bos_token }}" + _FOLDED + "{% for message in turns %}{% if message['role'] == 'assistant' %}"
        f"{answer}{{{{ {said} }}}}{{{{ eos_token }}}}"
        f"{{% else %}}{before}{{{{ lead if loop.first }}}}{{{{ message['content'] }}}}{after}"
        "{% endif %}{% endfor %}"
    )


# The begin token stands before every question, and the system message within the first.
_LLAMA2 = (
    "{% if messages[0]['role'] == 'system' %}{% set lead = '<<SYS>>\n' ~ messages[0]['content'] ~ '\n<</SYS>>\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set lead = '' %}{% set turns = messages %}{% endif %}"
    "{% for message in turns %}{% if message['role'] == 'assistant' %} {{ message['content'].strip() }} {{ eos_token }}"
    "{% else %}{{ bos_token }}[INST] {{ lead if loop.first }}{{ message['content'].strip() }} [/INST]{% endif %}"
    "{% endfor %}"
)
_ZEPHYR = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_VICUNA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "ASSISTANT: {{ message['content'] }}{{ eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] }} "
    "{% else %}USER: {{ message['content'] }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_ALPACA = (
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "### Response:\n{{ message['content'] }}{{ eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] }}"
    "{% else %}### Instruction:\n{{ message['content'] }}{% endif %}{% if not loop.last %}{{ '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\n' }}### Response:\n{% endif %}"
)


@dataclass(frozen=True)
class Layout:
    jinja: str
    marks: tuple[str, ...] = ()


_IM = ("<|im_start|>", "<|im_end|>")
LAYOUTS = {
    "chatml": Layout(_CHATML, _IM),
    "llama3": Layout(_LLAMA3, ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "phi_3": Layout(_PHI3, ("<|user|>", "<|assistant|>", "<|end|>")),
    "phi_35": Layout(_PHI35, ("<|user|>", "<|assistant|>", "<|end|>")),
    "phi_4": Layout(_PHI4, ("<|im_start|>", "<|im_sep|>", "<|im_end|>")),
    "gemma": Layout(_GEMMA, ("<start_of_turn>", "<end_of_turn>")),
    "mistral_v1": Layout(_mistral(" [INST] ", " [/INST]", " ")),
    "mistral_v2v3": Layout(_mistral("[INST] ", "[/INST]", " ", "message['content'].strip()"), ("[INST]", "[/INST]")),
    "mistral_v3_tekken": Layout(_mistral("[INST]", "[/INST]", ""), ("[INST]", "[/INST]")),
    "llama2": Layout(_LLAMA2),
    "zephyr": Layout(_ZEPHYR),
    "vicuna": Layout(_VICUNA),
    "alpaca": Layout(_ALPACA),
}
# With tools, thinking or images, and written by the models' makers: TRL ships them, and they are read from there.
SHIPPED = {
    "qwen_25": ("qwen2_5", _IM),
    "qwen3": ("qwen3", _IM),
    "gemma3": ("gemma3", ("<start_of_turn>", "<end_of_turn>")),
}
EOS_CLOSES = frozenset(name for name, layout in LAYOUTS.items() if "{{ eos_token }}" in layout.jinja)
"""Templates that end a turn with the tokenizer's own end of sequence."""
