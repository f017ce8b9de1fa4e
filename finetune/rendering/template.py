"""A tokenizer's chat template at work: messages -> text, and how it ends an assistant turn. Knows no spans and no
labels."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.errors import DataError
from finetune.formats.meaning import BadRow, Conversation, Message

QUESTION, ANSWER = "Qx4", "Zq7"
"""Contents of the messages by which a template is looked at: words that no template writes itself."""
Render = Callable[[Sequence[Mapping[str, Any]], Any, bool], str]


@dataclass(frozen=True)
class TurnEnd:
    """How a template ends an assistant turn. `text`: what follows the content, up to and including the end token;
    `token`: that token's text; `tail`: all that follows the content of the last turn."""

    text: str
    token: str
    token_id: int
    tail: str


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
            raise BadRow(f"the chat template refuses this conversation: {error}") from None

    return rendered


def text_of(render_: Render, conversation: Conversation) -> str:
    return render_(as_dicts(conversation.messages), conversation.tools, False)


def find_turn_end(tokenizer: Any, eot_tokens: Sequence[str] = ()) -> TurnEnd:
    """What the template writes after every assistant turn, found by rendering one last and one before a user.

    The end token is the first special token (or, where the recipe names them, the first of `eot_tokens` and the end of
    sequence) that both have there. DataError if there is none: the model would never learn to stop."""
    if not tokenizer.chat_template:
        raise DataError(
            "the tokenizer has no chat template, so messages cannot become text. Set chat_template, "
            "for example `chat_template: chatml`"
        )
    ends = _end_ids(tokenizer, eot_tokens)
    last, followed = _probes(tokenizer)
    tail, other = _tokens(tokenizer, last), _tokens(tokenizer, followed)
    start = 0
    for (token, end), (other_token, other_end) in zip(tail, other, strict=False):
        if (token, end) != (other_token, other_end):
            break
        if token in ends:
            return TurnEnd(last[:end], last[start:end], token, last)
        start = end
    kind = f"none of eot_tokens ({', '.join(eot_tokens)})" if eot_tokens else "no special token"
    raise DataError(
        f"the chat template writes {kind} at the end of an assistant turn, so the model would never learn to stop: "
        f"after an answer it writes {last[:40]!r}, and {followed[:40]!r} before the next question. Choose another "
        "chat_template" + ("" if eot_tokens else ", or name its end token in eot_tokens")
    )


def _probes(tokenizer: Any) -> tuple[str, str]:
    """What the template writes after an answer that is last, and after one that a question follows."""
    question, answer = Message("user", QUESTION), Message("assistant", ANSWER)
    try:
        prompt, plain = (render(tokenizer, (question,), asked) for asked in (True, False))
        last = render(tokenizer, (question, answer))
        followed = render(tokenizer, (question, answer, question))
    except BadRow as bad:
        raise DataError(str(bad)) from None
    places = [text.find(ANSWER, len(prompt)) for text in (last, followed)]
    lead = last[len(prompt) : places[0]]
    if (
        not (last.startswith(prompt) and followed.startswith(prompt))
        or -1 in places
        or (lead.strip() and prompt == plain)
    ):
        raise DataError(
            "the chat template renders an answer differently from the prompt it continues, so its tokens cannot be "
            "told apart: what it writes before an answer must be what add_generation_prompt writes. Choose another "
            "chat_template"
        )
    return last[places[0] + len(ANSWER) :], followed[places[1] + len(ANSWER) :]


def _end_ids(tokenizer: Any, eot_tokens: Sequence[str]) -> set[int]:
    if not eot_tokens:
        return set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    vocabulary = tokenizer.get_vocab()
    unknown = [token for token in eot_tokens if token not in vocabulary]
    if unknown:
        raise DataError(
            f"eot_tokens names {', '.join(unknown)}, which this tokenizer does not know as one token. Remove it, or "
            "name the token that the chat template writes at the end of a turn"
        )
    ids = {vocabulary[token] for token in eot_tokens}
    return ids if tokenizer.eos_token_id is None else ids | {tokenizer.eos_token_id}


def _tokens(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """(token id, end character) of each token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [(token, end) for token, (_, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]
