"""A tokenizer's chat template at work: messages -> text. Knows no spans and no labels."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from finetune.errors import DataError
from finetune.formats.meaning import BadRow, Conversation, Message

FORGIVING = {
    "<start_of_turn>": "gemma",
    "[INST]": "mistral_v3_tekken",
}
"""A mark of a family -> the layout kept here that takes what the maker's template refuses."""
Render = Callable[[Sequence[Mapping[str, Any]], Any, bool], str]


def as_dicts(messages: Sequence[Message]) -> list[dict[str, Any]]:
    """Messages as templates read them: what else a message has stands beside role and content."""
    return [{"role": message.role, "content": message.content, **message.extra} for message in messages]


def render(tokenizer: Any, messages: Sequence[Message], generation_prompt: bool = False) -> str:
    """The template's text. BadRow if the template refuses the messages (roles out of order, for example)."""
    return renderer_of(tokenizer)(as_dicts(messages), None, generation_prompt)


def renderer_of(tokenizer: Any) -> Render:
    """The template compiled once, in jinja2's sandbox: (messages, tools, whether an answer is asked for) -> text."""
    # The library's own environment, without what apply_chat_template does around it for every conversation.
    from transformers.utils.chat_template_utils import _compile_jinja_template

    try:
        template = _compile_jinja_template(tokenizer.chat_template)
    except Exception as error:  # noqa: BLE001 - a tokenizer may bring anything
        raise DataError(f"the chat template is not jinja: {error}") from None
    names = dict(tokenizer.special_tokens_map)

    def rendered(messages: Sequence[Mapping[str, Any]], tools: Any, generation_prompt: bool) -> str:
        try:
            return str(
                template.render(
                    messages=messages, tools=tools, documents=None, add_generation_prompt=generation_prompt, **names
                )
            )
        except Exception as error:  # noqa: BLE001 - a template is code: it may raise anything
            why = str(error).rstrip(".") + _way_out(str(error), messages, tokenizer.chat_template)
            raise BadRow(f"the chat template refuses this conversation: {why}") from None

    return rendered


def _way_out(error: str, messages: Sequence[Mapping[str, Any]], template: str) -> str:
    """What helps against the refusals that makers write into their templates, where it is known."""
    system = bool(messages) and messages[0]["role"] == "system" and "system" in error.lower()
    wider = next((names for mark, names in FORGIVING.items() if mark in template), None)
    ways = []
    if system:
        ways.append("`drop_system_message: true` in the entry of datasets leaves system messages out")
    if wider and (system or "alternate" in error):
        what = "writes them before the first question" if system else "takes turns in any order"
        ways.append(f"`chat_template: {wider}` {what}")
    return f". {'; '.join(ways)}" if ways else ""


def text_of(render_: Render, conversation: Conversation) -> str:
    return render_(as_dicts(conversation.messages), conversation.tools, False)
