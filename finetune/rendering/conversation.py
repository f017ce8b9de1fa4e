"""Conversation -> texts with the characters that are learned. Places come from what the template renders, never from
searching for markers. Knows no tokens and no lengths."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.formats.meaning import BadRow, Conversation, Message
from finetune.rendering.beside import places_beside
from finetune.rendering.labels import LabelSettings, Span, Turn, is_learned, masked_of, spans_of
from finetune.rendering.skeleton import ASKED, CHANGED, REWRITES, Skeleton, skeleton_of, turns_in, unlike
from finetune.rendering.template import as_dicts, renderer_of, text_of
from finetune.rendering.turn_end import TurnEnd, find_turn_end
from finetune.rendering.unwritten import Unwritten

SKELETONS = 4096
"""Orders of roles whose skeletons are kept; a set of data has far fewer."""
STAND_IN = "\U000fdead"


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text, its learned characters, and where the row's own contents stand in it. `answers`: the last turn that is
    learned is an answer. `masked`: characters of which the row says that they are not learned; `unwritten`: what the
    row brings that the template leaves out."""

    text: str
    spans: list[Span]
    contents: list[Span]
    answers: bool
    masked: tuple[Span, ...] = ()
    unwritten: tuple[str, ...] = ()


class Conversations:
    """Renders conversations under one template and settings. Made anew in each process: a compiled template cannot be
    sent to another."""

    def __init__(self, tokenizer: Any, settings: LabelSettings) -> None:
        self.settings = settings
        self.turn_end: TurnEnd = find_turn_end(tokenizer, settings.eot_tokens)
        self._render = renderer_of(tokenizer)
        self._unwritten = Unwritten(self._render)
        self._marks = {token.content: number for number, token in tokenizer.added_tokens_decoder.items()}
        self.end_ids = {self.turn_end.token_id}
        self._skeletons: dict[tuple[str, ...], Skeleton | None] = {}
        plain = self.turn_end.token_id == tokenizer.eos_token_id
        eot = settings.train_on_eos if settings.train_on_eot is None else settings.train_on_eot
        self.ends = settings.train_on_eos if plain else eot

    def rendered(self, conversation: Conversation, pattern: re.Pattern[str] | None = None) -> list[Rendered]:
        """One text, or one for each learned answer under `multiturn: explode`. `pattern`: of texts whose places count
        beside the contents too. BadRow, with the turn, where the template refuses the conversation, or a learned turn
        has no place that holds when it is generated."""
        messages = (
            _without_system(conversation.messages) if self.settings.drop_system_message else conversation.messages
        )
        unwritten = self._unwritten.of(conversation)
        learned = [is_learned(message, self.settings) for message in messages]
        answers = [number for number, message in enumerate(messages) if message.role == "assistant" and learned[number]]
        if self.settings.multiturn == "last":
            learned = [on and (not answers or number >= answers[-1]) for number, on in enumerate(learned)]
        if self.settings.multiturn != "explode" or len(answers) < 2:
            one = self._one(replace(conversation, messages=messages), learned, pattern)
            return [replace(one, unwritten=unwritten) if unwritten else one]
        texts = []
        for before, number in zip([-1, *answers], answers, strict=False):
            part = replace(conversation, messages=messages[: number + 1])
            wanted = [on and turn > before for turn, on in enumerate(learned[: number + 1])]
            texts.append(replace(self._one(part, wanted, pattern), unwritten=unwritten))
        return texts

    def _one(self, conversation: Conversation, learned: Sequence[bool], pattern: re.Pattern[str] | None) -> Rendered:
        messages = conversation.messages
        text = text_of(self._render, conversation)
        turns: Sequence[Turn | None] | None = None
        if conversation.tools is None and not any(message.extra for message in messages):
            skeleton = self._skeleton(tuple([message.role for message in messages]))
            if skeleton is not None:
                contents = [message.content for message in messages]
                turns = turns_in(text, contents, skeleton, len(self.turn_end.token))
                if turns is not None:
                    for number, fault in enumerate(skeleton.faults):
                        if fault and learned[number]:
                            raise BadRow(f"turn {number + 1}: {fault}")
        if turns is None:
            every = self.ends == "all" or self.settings.special_tokens_in_content == "text"
            turns = [
                self._turn(conversation, number, text) if on or every else None for number, on in enumerate(learned)
            ]
        spans = spans_of(messages, turns, learned, self.ends)
        last = next((number for number in reversed(range(len(messages))) if learned[number]), None)
        answers = last is not None and messages[last].role == "assistant"
        places = [(turn.content, turn.content_end) for turn in turns if turn]
        if pattern:
            places += places_beside(conversation, pattern, lambda one: text_of(self._render, one), text)
        return Rendered(text, spans, sorted(places), answers, masked_of(messages, turns))

    def _skeleton(self, roles: tuple[str, ...]) -> Skeleton | None:
        if roles not in self._skeletons:
            if len(self._skeletons) >= SKELETONS:
                self._skeletons.clear()
            self._skeletons[roles] = skeleton_of(roles, self._render, self.turn_end)
        return self._skeletons[roles]

    def _turn(self, conversation: Conversation, number: int, text: str) -> Turn | None:
        """Where a turn stands in a text whose contents change what the template writes around them; None for one that
        says nothing and is not written."""
        if conversation.messages[number].role == "assistant":
            return self._answer(conversation, number, text)
        turn = self._stood_in(conversation, number, text)
        if turn is None and conversation.messages[number].content.strip():
            raise BadRow(
                f"turn {number + 1}: the place of this turn cannot be told apart. Choose another chat_template"
            )
        return turn

    def _answer(self, conversation: Conversation, number: int, text: str) -> Turn:
        dicts, tools, end = as_dicts(conversation.messages[: number + 1]), conversation.tools, self.turn_end
        if number == 0:
            opening = self._stood_in(conversation, 0, text)
            if opening is None:
                raise BadRow(f"turn 1: {CHANGED}")
            return opening
        before, alone = self._render(dicts[:-1], tools, True), self._render(dicts, tools, False)
        if not alone.startswith(before):
            raise BadRow(f"turn {number + 1}: {ASKED}")
        if not alone.endswith(end.tail):
            return self._called(conversation, number, text, (len(before), alone.rstrip()))
        written = len(alone) - len(end.tail)
        through = written + len(end.text)
        if not text.startswith(alone[:through]):
            raise BadRow(f"turn {number + 1}: {REWRITES}")
        content, stripped, start = conversation.messages[number].content, 0, -1
        for form in (content, content.strip()):
            if start < 0 and alone.endswith(form, len(before), written):
                start, stripped = written - len(form), content.index(form)
        if start < 0 and conversation.messages[number].spans:
            raise BadRow(f"turn {number + 1}: {CHANGED}")
        return Turn(
            len(before), start if start >= 0 else len(before), written, through - len(end.token), through, stripped
        )

    def _called(self, conversation: Conversation, number: int, text: str, found: tuple[int, str]) -> Turn:
        """A turn of tool calls, which some templates end with a token of their own. `found`: where it starts, and the
        text through its end."""
        start, alone = found
        mark = next((mark for mark in self._marks if alone.endswith(mark, start)), None)
        if mark is None or not conversation.messages[number].extra.get("tool_calls"):
            raise BadRow(f"turn {number + 1}: {unlike(self.turn_end)}")
        if not text.startswith(alone):
            raise BadRow(f"turn {number + 1}: {REWRITES}")
        self.end_ids.add(self._marks[mark])
        written = len(alone) - len(mark)
        return Turn(start, start, written, written, len(alone))

    def _stood_in(self, conversation: Conversation, number: int, text: str) -> Turn | None:
        """The place of a content that may be anything: around it, the text with a stand-in is the same."""
        dicts = as_dicts(conversation.messages)
        content = dicts[number]["content"]
        dicts[number]["content"] = STAND_IN
        try:
            before, found, after = self._render(dicts, conversation.tools, False).partition(STAND_IN)
        except BadRow:
            return None
        if not found or STAND_IN in after or len(before) + len(after) > len(text):
            return None
        if not (text.startswith(before) and text.endswith(after)):
            return None
        start, end = len(before), len(text) - len(after)
        place = after.find(self.turn_end.token)
        closed = place >= 0 and not after[:place].strip()
        mark = end + place if closed else end
        through = mark + len(self.turn_end.token) if closed else end
        stripped = len(content) - len(content.lstrip()) if text[start:end] != content else 0
        return Turn(start, start, end, mark, through, stripped)


def _without_system(messages: tuple[Message, ...]) -> tuple[Message, ...]:
    """BadRow if nothing is left."""
    left = messages[1:] if messages and messages[0].role == "system" else messages
    if not left:
        raise BadRow("nothing is left of this conversation once drop_system_message has taken its only message")
    return left
