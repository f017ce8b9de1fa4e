"""Which chat template a tokenizer uses. The layouts are facts of the model families; the wording here is ours."""

from typing import Any

from finetune.errors import ModelError, RecipeError

# `.strip()` where a family's own template strips. A leading bos_token where the family's does.
TEMPLATES = {
    "chatml": (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{{ message['content'] }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    ),
    "llama3": (
        "{{ bos_token }}{% for message in messages %}<|start_header_id|>{{ message['role'] }}<|end_header_id|>\n\n"
        "{{ message['content'].strip() }}<|eot_id|>{% endfor %}"
        "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
    ),
    "phi_3": (
        "{% for message in messages %}<|{{ message['role'] }}|>\n{{ message['content'] }}<|end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
    ),
}
TEMPLATES["phi_35"] = TEMPLATES["phi_3"]


def set_template(*, name: str, jinja: str | None, tokenizer: Any) -> None:
    """Give the tokenizer the recipe's chat template, or leave it its own.

    RecipeError if the recipe's template is not jinja; ModelError if a token the template writes is not one token of
    this tokenizer: the model would read its markers as ordinary text."""
    if name == "tokenizer_default":
        return
    if name == "jinja":
        _compiled(str(jinja))
        tokenizer.chat_template = jinja
        return
    vocabulary = tokenizer.get_vocab()
    marks = MARKS[name]
    missing = [mark for mark in marks if mark not in vocabulary]
    if missing:
        raise ModelError(
            f"chat_template: {name} writes {', '.join(missing)}, which this tokenizer does not know as one token. "
            "Choose the model's own template (chat_template: tokenizer_default), or another model"
        )
    tokenizer.chat_template = TEMPLATES[name]


MARKS = {
    "chatml": ("<|im_start|>", "<|im_end|>"),
    "llama3": ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    "phi_3": ("<|user|>", "<|assistant|>", "<|end|>"),
    "phi_35": ("<|user|>", "<|assistant|>", "<|end|>"),
}


def _compiled(text: str) -> None:
    from jinja2 import TemplateSyntaxError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    try:
        ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(text)
    except TemplateSyntaxError as error:
        raise RecipeError(f"chat_template_jinja, line {error.lineno}: {error.message}") from None
