"""How a chat template ends an assistant turn, found by rendering one. Knows no row, no spans and no labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any

from finetune.errors import DataError
from finetune.formats.meaning import BadRow, Message
from finetune.rendering.template import render

QUESTION, ANSWER, THOUGHT = "Qx4", "Zq7", "Rv9"
"""Contents of the messages by which a template is looked at: words that no template writes itself."""
Token = tuple[int, int]
"""A token's id, and the character at which it ends."""


@dataclass(frozen=True)
class TurnEnd:
    """How a template ends an assistant turn. `text`: what follows the content, up to and including the end token;
    `token`: that token's text; `tail`: all that follows the content of the last turn."""

    text: str
    token: str
    token_id: int
    tail: str


def find_turn_end(tokenizer: Any, eot_tokens: Sequence[str] = ()) -> TurnEnd:
    """What the template writes after every assistant turn, found by rendering one last and one before a user.

    The end token is the end of sequence or, where none stands there, the first special token (where the recipe names
    some, the first of `eot_tokens` and the end of sequence) that both have; else the end of sequence after the last
    alone. DataError if there is none: the model would never learn to stop."""
    if not tokenizer.chat_template:
        raise DataError(
            "the tokenizer has no chat template, so messages cannot become text. Set chat_template, "
            "for example `chat_template: chatml`"
        )
    ends = _end_ids(tokenizer, eot_tokens)
    last, followed = _probes(tokenizer)
    tail = _tokens(tokenizer, last)
    pairs = zip(tail, _tokens(tokenizer, followed), strict=False)
    both = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)]
    # Command R writes <|END_RESPONSE|> and then its end of sequence: with the first alone the model would go on.
    marks = both if eot_tokens else list(takewhile(lambda one: _closes(one, both, ends, last), both))
    # gpt-oss ends only a last answer with the end of sequence: earlier answers are then faults of their rows.
    sure = ends & {tokenizer.eos_token_id, *map(tokenizer.convert_tokens_to_ids, eot_tokens)}
    for found, wanted in ((marks, sure), (both, ends), (tail, sure)):
        start = 0
        for token, end in found:
            if token in wanted:
                return TurnEnd(last[:end], last[start:end], token, last)
            start = end
    kind = f"none of eot_tokens ({', '.join(eot_tokens)})" if eot_tokens else "no special token"
    raise DataError(
        f"the chat template writes {kind} at the end of an assistant turn, so the model would never learn to stop: "
        f"after an answer it writes {last[:40]!r}, and {followed[:40]!r} before the next question. Choose another "
        "chat_template" + ("" if eot_tokens else ", or name its end token in eot_tokens")
    )


def _closes(one: Token, found: Sequence[Token], ends: set[int], text: str) -> bool:
    """Whether a token is special or white space: what closes a turn, and not the words of the next."""
    start = max((end for _, end in found if end < one[1]), default=0)
    return one[0] in ends or not text[start : one[1]].strip()


def _probes(tokenizer: Any) -> tuple[str, str]:
    """What the template writes after an answer that is last, and after one that a question follows."""
    question = Message("user", QUESTION)
    answers = (Message("assistant", ANSWER), Message("assistant", ANSWER, extra={"reasoning_content": THOUGHT}))
    try:
        prompt, plain = (render(tokenizer, (question,), asked) for asked in (True, False))
        for answer in answers:
            last = render(tokenizer, (question, answer))
            followed = render(tokenizer, (question, answer, question))
            # What a prompt opens a last answer with (a thought) may be gone once a question follows.
            places = [last.find(ANSWER, len(prompt)), followed.find(ANSWER)]
            lead = last[len(prompt) : places[0]]
            if last.startswith(prompt) and -1 not in places and not (lead.strip() and prompt == plain):
                return last[places[0] + len(ANSWER) :], followed[places[1] + len(ANSWER) :]
    except BadRow as bad:
        raise DataError(str(bad)) from None
    raise DataError(
        "the chat template renders an answer differently from the prompt it continues, so its tokens cannot be "
        f"told apart: a prompt ends with {prompt[-40:]!r}, and an answer begins with {last[-40:]!r}. Choose another "
        "chat_template, or set what makes the two agree in chat_template_kwargs (such as enable_thinking: false)"
    )


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


def _tokens(tokenizer: Any, text: str) -> list[Token]:
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    return [(token, end) for token, (_, end) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)]
