"""The chat templates that are kept by name: jinja, and the marks that must be single tokens. The layouts are facts of
the model families; the wording here is ours. Knows no tokenizer."""

from dataclasses import dataclass

# `.strip()` where a family's own template strips. A leading bos_token where the family's does. A family without system
# messages has its first question after the system message and an empty line. A turn that a family has no place for is
# refused: written as a question, it would teach another conversation than the row's.
_REFUSED = (
    "{{ raise_exception('it has no place for a turn of the role ' ~ message['role'] ~ ' there; choose the template of "
    "a model that has, or leave such rows out') }}{% endfor %}"
)
_PLAIN_ROLES = "{% for message in messages if message['role'] not in ('system', 'user', 'assistant') %}" + _REFUSED
_TWO_ROLES = (
    "{% if lead and turns and turns[0]['role'] == 'assistant' %}{{ raise_exception('an answer follows the system "
    "message, which it writes into a question') }}{% endif %}"
    "{% for message in turns if message['role'] not in ('user', 'assistant') %}" + _REFUSED
)
_FOLDED = (
    "{% if messages[0]['role'] == 'system' %}{% set lead = messages[0]['content'] ~ '\n\n' %}"
    "{% set turns = messages[1:] %}{% else %}{% set lead = '' %}{% set turns = messages %}{% endif %}" + _TWO_ROLES
)
_NO_THOUGHTS = (
    "{% for message in messages if message['role'] == 'assistant' and '</think>' in message['content'] %}"
    "{{ raise_exception('it writes no reasoning, and an answer holds some. Choose the model\\'s own template "
    "(tokenizer_default), or take the reasoning out of the data') }}{% endfor %}"
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
    + _TWO_ROLES
    + "{% for message in turns %}{% if message['role'] == 'assistant' %}"
    " {{ message['content'].strip() }} {{ eos_token }}"
    "{% else %}{{ bos_token }}[INST] {{ lead if loop.first }}{{ message['content'].strip() }} [/INST]{% endif %}"
    "{% endfor %}"
)
_ZEPHYR = (
    "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
_VICUNA = (
    _PLAIN_ROLES + "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "ASSISTANT: {{ message['content'] }}{{ eos_token }}{% elif message['role'] == 'system' %}{{ message['content'] }} "
    "{% else %}USER: {{ message['content'] }} {% endif %}{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)
_ALPACA = (
    _PLAIN_ROLES + "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "### Response:\n{{ message['content'] }}{{ eos_token }}"
    "{% elif message['role'] == 'system' %}{{ message['content'] }}"
    "{% else %}### Instruction:\n{{ message['content'] }}{% endif %}{% if not loop.last %}{{ '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '\n\n' }}### Response:\n{% endif %}"
)
# As Unsloth's name `mistral` has it: no space before an answer, and one behind a system message.
_MISTRAL = _mistral("[INST] ", " [/INST]", "").replace("~ '\n\n'", "~ ' '")
# The later releases have a system turn of their own.
_MISTRAL_V7 = (
    "{{ bos_token }}" + _PLAIN_ROLES + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "{{ message['content'] }}{{ eos_token }}{% elif message['role'] == 'system' %}"
    "[SYSTEM_PROMPT]{{ message['content'] }}[/SYSTEM_PROMPT]{% else %}[INST]{{ message['content'] }}[/INST]{% endif %}"
    "{% endfor %}"
)
_LLAMA4 = (
    "{{ bos_token }}{% for message in messages %}<|header_start|>{{ message['role'] }}<|header_end|>\n\n"
    "{{ message['content'].strip() if loop.first and message['role'] == 'system' else message['content'] }}<|eot|>"
    "{% endfor %}{% if add_generation_prompt %}<|header_start|>assistant<|header_end|>\n\n{% endif %}"
)
_DEEPSEEK_V2 = (
    "{{ bos_token }}" + _PLAIN_ROLES + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "<｜Assistant｜>{{ message['content'] }}{{ eos_token }}{% elif message['role'] == 'system' %}"
    "{{ message['content'] }}{{ '\n\n' }}{% else %}<｜User｜>{{ message['content'] }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
# All system messages stand before the first turn. In a loop: llama.cpp thinks that a template which reads them through
# filters alone takes none, and puts them into the question.
_DEEPSEEK_V3 = (
    "{{ bos_token }}" + _PLAIN_ROLES + _NO_THOUGHTS + "{% for message in messages if message['role'] == 'system' %}"
    "{{ '' if loop.first else '\n\n' }}{{ message['content'] }}{% endfor %}"
    "{% for message in messages %}{% if message['role'] == 'user' %}"
    "<｜User｜>{{ message['content'] }}{% elif message['role'] == 'assistant' %}"
    "<｜Assistant｜>{{ message['content'] }}<｜end▁of▁sentence｜>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<｜Assistant｜>{% endif %}"
)
# A system turn stands there always; a question ends with its line.
_EXAONE = (
    _PLAIN_ROLES + "{% if messages[0]['role'] != 'system' %}[|system|][|endofturn|]\n{% endif %}"
    "{% for message in messages %}[|{{ message['role'] }}|]{{ message['content'] }}"
    "{{ '[|endofturn|]' if message['role'] != 'user' }}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}[|assistant|]{% endif %}"
)
# An empty thought stands before every answer, asked for or not.
_EXAONE4 = (
    _PLAIN_ROLES + _NO_THOUGHTS + "{% set thought = '<think>\n\n</think>\n\n' %}{% for message in messages %}"
    "[|{{ message['role'] }}|]\n{{ thought if message['role'] == 'assistant' }}{{ message['content'] }}[|endofturn|]\n"
    "{% endfor %}{% if add_generation_prompt %}[|assistant|]\n{{ thought }}{% endif %}"
)
_JAMBA = (
    "<|startoftext|>" + _PLAIN_ROLES + "{% if messages[0]['role'] != 'system' %}<|bom|><|system|> <|eom|>{% endif %}"
    "{% for message in messages %}<|bom|><|{{ message['role'] }}|> {{ message['content'] }}<|eom|>{% endfor %}"
    "{% if add_generation_prompt %}<|bom|><|assistant|>{% endif %}"
)
# Every answer is closed, not the last alone: a model that learns from the others too must know where they end.
_METHARME = (
    "{{ bos_token }}" + _PLAIN_ROLES + "{% for message in messages %}{% if message['role'] == 'assistant' %}"
    "<|model|>{{ message['content'].strip() }}{{ eos_token }}{% elif message['role'] == 'system' %}"
    "<|system|>{{ message['content'] }}{% else %}<|user|>{{ message['content'].strip() }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|model|>{% endif %}"
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
    "mistral_v7_tekken": Layout(_MISTRAL_V7, ("[SYSTEM_PROMPT]", "[/SYSTEM_PROMPT]", "[INST]", "[/INST]")),
    "mistral": Layout(_MISTRAL),
    "llama4": Layout(_LLAMA4, ("<|header_start|>", "<|header_end|>", "<|eot|>")),
    "deepseek_v2": Layout(_DEEPSEEK_V2, ("<｜User｜>", "<｜Assistant｜>")),
    "deepseek_v3": Layout(_DEEPSEEK_V3, ("<｜User｜>", "<｜Assistant｜>", "<｜end▁of▁sentence｜>")),
    "exaone": Layout(_EXAONE, ("[|endofturn|]",)),
    "exaone4": Layout(_EXAONE4, ("[|endofturn|]",)),
    "falcon_h1": Layout("{{ bos_token }}" + _CHATML, _IM),
    "nemotron_h": Layout(_PLAIN_ROLES + _CHATML, _IM),
    "jamba": Layout(_JAMBA, ("<|startoftext|>", "<|bom|>", "<|eom|>")),
    "metharme": Layout(_METHARME),
    "zephyr": Layout(_ZEPHYR),
    "vicuna": Layout(_VICUNA),
    "alpaca": Layout(_ALPACA),
}
# With tools, thinking or images, and written by the models' makers: TRL ships them, and they are read from there.
_TURNS = ("<start_of_turn>", "<end_of_turn>")
_COHERE = ("<|START_OF_TURN_TOKEN|>", "<|END_OF_TURN_TOKEN|>")
SHIPPED = {
    "llama3_1": ("llama3_1", ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>")),
    "qwen_25": ("qwen2_5", _IM),
    "qwen3": ("qwen3", _IM),
    "qwen3_5": ("qwen3_5_think", _IM),
    "gemma3": ("gemma3", _TURNS),
    "gemma3n": ("gemma3", _TURNS),
    "gemma4": ("gemma4", ("<|turn>", "<turn|>")),
    "gemma4_unified": ("gemma4", ("<|turn>", "<turn|>")),
    "cohere": ("cohere", _COHERE),
    "aya": ("cohere", _COHERE),
}
