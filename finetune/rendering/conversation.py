"""Conversation -> text and the character spans of the assistant's turns, end token included. Spans come from what the
template renders, never from searching for markers. Knows no labels and no lengths."""

from dataclasses import dataclass
from typing import Any

from finetune.errors import DataError
from finetune.formats.meaning import BadRow, Conversation, Message

Span = tuple[int, int]
"""Characters [start, end) of a text."""


@dataclass(frozen=True)
class TurnEnd:
    """How a template ends an assistant turn: the text up to and including its end token, and that token's id."""

    text: str
    token_id: int


def _as_dicts(messages: tuple[Message, ...]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def render(tokenizer: Any, messages: tuple[Message, ...], generation_prompt: bool = False) -> str:
    """The template's text. BadRow if the template refuses the messages (roles out of order, for example)."""
    try:
        text = tokenizer.apply_chat_template(
            _as_dicts(messages), tokenize=False, add_generation_prompt=generation_prompt
        )
    except Exception as error:  # noqa: BLE001 - a template is code: it may raise anything
        raise BadRow(f"the chat template refuses this conversation: {error}") from None
    assert isinstance(text, str)
    return text


def find_turn_end(tokenizer: Any) -> TurnEnd:
    """What the template writes after every assistant turn, found by rendering one last and one before a user.

    The end token is the first special token that both have there. DataError if there is none: the model would never
    learn to stop."""
    if not tokenizer.chat_template:
        raise DataError(
            "the tokenizer has no chat template, so messages cannot become text. Set chat_template, "
            "for example `chat_template: chatml`"
        )
    question, answer = Message("user", "a"), Message("assistant", "b")
    try:
        prompt = render(tokenizer, (question,), generation_prompt=True)
        last = render(tokenizer, (question, answer))
        followed = render(tokenizer, (question, answer, question))
    except BadRow as bad:
        raise DataError(str(bad)) from None
    after = prompt + answer.content
    if not (last.startswith(after) and followed.startswith(after)):
        raise DataError(
            "the chat template renders an answer differently from the prompt it continues, so its tokens "
            "cannot be told apart. Choose another chat_template"
        )
    tail, other = (_tokens(tokenizer, text[len(after) :]) for text in (last, followed))
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    for (token, end), (other_token, other_end) in zip(tail, other, strict=False):
        if (token, end) != (other_token, other_end):
            break
        if token in special:
            return TurnEnd(last[len(after) : len(after) + end], token)
    raise DataError(
        "the chat template writes no special token at the end of an assistant turn, so the model would never learn to "
        f"stop: after an answer it writes {last[len(after) :][:40]!r}, and {followed[len(after) :][:40]!r} before the "
        "next question. Choose another chat_template"
    )


def _tokens(tokenizer: Any, text: str) -> list[tuple[int, int]]:
    """(token id, end character) of each token."""
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [(token, end) for token, (_, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]


def render_spans(tokenizer: Any, conversation: Conversation, turn_end: TurnEnd) -> tuple[str, list[Span]]:
    """The conversation's text and one span for each assistant turn: its content and its end token.

    BadRow, with the turn, where the template rewrites a turn once others follow, or changes its content."""
    messages = conversation.messages
    text = render(tokenizer, messages)
    spans: list[Span] = []
    for number, message in enumerate(messages):
        if message.role != "assistant":
            continue
        before = (
            render(tokenizer, messages[:number], generation_prompt=True) if number else _opening(tokenizer, messages)
        )
        if not text.startswith(before):
            raise BadRow(
                f"turn {number + 1}: the chat template rewrites earlier turns once later ones follow, so what is "
                "learned would not be what is generated. Choose another chat_template"
            )
        start = len(before)
        end = _content_end(text, start, message.content)
        if end is None:
            raise BadRow(
                f"turn {number + 1}: the chat template changes the answer's text. Choose another chat_template"
            )
        if not text.startswith(turn_end.text, end):
            raise BadRow(f"turn {number + 1}: the chat template does not end this turn with {turn_end.text!r}")
        spans.append((start, end + len(turn_end.text)))
    return text, spans


def _opening(tokenizer: Any, messages: tuple[Message, ...]) -> str:
    """What the template writes before an answer that opens the conversation: where two that differ part."""
    texts = [
        render(tokenizer, (Message("assistant", content), *messages[1:]))
        for content in (messages[0].content, "\ue000", "\ue001")
    ]
    same = 0
    while all(len(text) > same and text[same] == texts[0][same] for text in texts):
        same += 1
    return texts[0][:same]


def _content_end(text: str, start: int, content: str) -> int | None:
    for form in (content, content.strip()):
        if text.startswith(form, start):
            return start + len(form)
    return None
