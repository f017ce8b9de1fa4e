"""What a chat template writes around the contents of a conversation, learned once for each order of roles by rendering
stand-ins, and compared with the true text of every row. Knows no labels and no tokens."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from finetune.formats.meaning import BadRow
from finetune.rendering.labels import Turn
from finetune.rendering.template import Render
from finetune.rendering.turn_end import TurnEnd

FIRST_STAND_IN = 0xF0000
"""Characters of a private plane stand in for contents: no template writes them, and no text should."""
CHANGED = "the chat template changes the answer's text. Choose another chat_template"
REWRITES = (
    "the chat template rewrites earlier turns once later ones follow, so what is learned would not be what is "
    "generated. Set `multiturn: explode` (one example for each answer) or `multiturn: last`, or choose another "
    "chat_template"
)
ASKED = (
    "the chat template asks for this answer in another way than it writes it, so what is learned would not be what is "
    "generated. Set what makes the two agree in chat_template_kwargs (such as enable_thinking: false), or choose "
    "another chat_template"
)


def unlike(turn_end: TurnEnd) -> str:
    """The fault of a turn that ends otherwise."""
    return (
        f"the chat template does not end this turn with {turn_end.text!r}, as it ends a last answer. Set `multiturn: "
        "explode` (one example for each answer) or `multiturn: last`, or choose another chat_template"
    )


@dataclass(frozen=True, slots=True)
class Skeleton:
    """For the roles of a conversation: `pieces` around its contents; of each turn, `starts` (characters of the piece
    before it up to where the model would begin to write), `ends` (characters of the piece after it through its end
    token, 0 where it has none) and `faults` (why it cannot be learned)."""

    pieces: tuple[str, ...]
    starts: tuple[int, ...]
    ends: tuple[int, ...]
    faults: tuple[str | None, ...]


def skeleton_of(roles: Sequence[str], render: Render, turn_end: TurnEnd) -> Skeleton | None:
    """None if the template does not write every content once and in order, or refuses these roles: its rows are then
    looked at one by one."""
    messages: list[dict[str, Any]] = [
        {"role": role, "content": chr(FIRST_STAND_IN + number)} for number, role in enumerate(roles)
    ]
    try:
        text = render(messages, None, False)
        pieces = _pieces(text, len(roles))
        if pieces is None:
            return None
        starts, ends, faults = [], [], []
        for number, role in enumerate(roles):
            start, end, fault = len(pieces[number]), _end(pieces[number + 1], turn_end), None
            if role == "assistant":
                start, fault = _answer(messages[: number + 1], text, pieces, render)
                if not pieces[number + 1].startswith(turn_end.text):
                    fault = fault or unlike(turn_end)
                    end = 0
                elif fault is None and number + 1 < len(roles):
                    place = text.index(chr(FIRST_STAND_IN + number)) + 1 + end
                    alone = render(messages[: number + 1], None, False)
                    fault = None if alone.startswith(text[:place]) else REWRITES
            starts.append(start)
            ends.append(end)
            faults.append(fault)
    except BadRow:
        return None
    return Skeleton(tuple(pieces), tuple(starts), tuple(ends), tuple(faults))


def _pieces(text: str, count: int) -> list[str] | None:
    pieces = []
    for number in range(count):
        piece, found, text = text.partition(chr(FIRST_STAND_IN + number))
        if not found or chr(FIRST_STAND_IN + number) in text:
            return None
        pieces.append(piece)
    stray = any(FIRST_STAND_IN <= ord(character) < FIRST_STAND_IN + count for character in "".join([*pieces, text]))
    return None if stray else [*pieces, text]


def _answer(
    messages: Sequence[dict[str, Any]], text: str, pieces: Sequence[str], render: Render
) -> tuple[int, str | None]:
    """(characters of the piece before the last of these messages up to where its answer begins, why it has none)."""
    number = len(messages) - 1
    if number == 0:
        return len(pieces[0]), None
    prompt = render(messages[:-1], None, True)
    before = sum(len(piece) for piece in pieces[:number]) + number
    whole = before + len(pieces[number])
    if before <= len(prompt) <= whole and text.startswith(prompt):
        return len(prompt) - before, None
    alone = render(messages, None, False)
    return len(pieces[number]), REWRITES if alone.startswith(prompt) else ASKED


def _end(piece: str, turn_end: TurnEnd) -> int:
    """Characters of a piece through the end token at its beginning; white space may stand before it."""
    if piece.startswith(turn_end.text):
        return len(turn_end.text)
    place = piece.find(turn_end.token)
    return place + len(turn_end.token) if place >= 0 and not piece[:place].strip() else 0


def turns_in(text: str, contents: Sequence[str], skeleton: Skeleton, token_length: int) -> list[Turn] | None:
    """Where each turn stands, if the text is exactly the skeleton's pieces with the contents, as they are or stripped,
    between them; else None. `token_length`: characters of the end token."""
    pieces = skeleton.pieces
    at = len(pieces[0])
    if not text.startswith(pieces[0]):
        return None
    turns = []
    for number, content in enumerate(contents):
        piece, stripped = pieces[number + 1], 0
        end = at + len(content)
        if not (text.startswith(content, at) and text.startswith(piece, end)):
            short = content.strip()
            end, stripped = at + len(short), len(content) - len(content.lstrip())
            if not (text.startswith(short, at) and text.startswith(piece, end)):
                return None
        start = at - len(pieces[number]) + skeleton.starts[number]
        through = end + skeleton.ends[number]
        mark = through - token_length if skeleton.ends[number] else through
        turns.append(Turn(start, at, end, mark, through, stripped))
        at = end + len(piece)
    return turns if at == len(text) else None
