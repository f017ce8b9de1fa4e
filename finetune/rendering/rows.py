"""Rows -> texts with what is learned, and the contract that every tokenized row keeps. What a process needs to turn
rows into examples, made from the tokenizer and the plan's settings. Knows no lengths and no batches."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from finetune.formats.meaning import Asked, BadRow, Conversation, Judged, Meaning, PreferencePair, Segments
from finetune.rendering.answers import AnswerTexts
from finetune.rendering.beside import beside
from finetune.rendering.conversation import Conversations
from finetune.rendering.labels import LabelSettings, Span, labels_of, learned_runs, without_masked
from finetune.rendering.odd import oddities
from finetune.rendering.specials import Specials, encode_in_parts
from finetune.rendering.texts import Text, begin_of_text

ANSWERS = (PreferencePair, Judged, Asked)
"""Meanings of which one answer counts, or none; the others are imitated."""


class Unlearned(BadRow):
    """A row whose own flags let nothing be learned: no fault, and nothing to train on."""


class RowTexts:
    """Rows of one source -> texts. Made anew in each process, from a tokenizer that has its chat template."""

    def __init__(self, tokenizer: Any, settings: LabelSettings, specials: Specials | None = None) -> None:
        self.tokenizer = tokenizer
        self.settings = settings
        self.specials = specials or Specials(tokenizer)
        self.begin: int | None = tokenizer.bos_token_id
        self.end: int | None = tokenizer.eos_token_id
        self.unknown = _unknown(tokenizer)
        self._begin_text = begin_of_text(tokenizer)
        self._conversations: Conversations | None = None
        self._answers: AnswerTexts | None = None

    @property
    def conversations(self) -> Conversations:
        """Made when the first conversation comes: a base model without a template may learn from plain text."""
        if self._conversations is None:
            tokenizer = self.tokenizer
            if self.settings.template is not None:
                tokenizer = copy.copy(tokenizer)
                tokenizer.chat_template = self.settings.template
            self._conversations = Conversations(tokenizer, self.settings)
        return self._conversations

    @property
    def stop_ids(self) -> frozenset[int]:
        """Tokens that end what was rendered so far."""
        turn = set(self._conversations.end_ids) if self._conversations else set()
        turn |= self._answers.stop_ids if self._answers else set()
        return frozenset(turn if self.end is None else turn | {self.end})

    def texts(self, meaning: Meaning) -> list[Text]:
        """None for a row of empty text. BadRow if the template refuses the row, or its content holds special tokens
        under `error`."""
        if isinstance(meaning, ANSWERS):
            self._answers = self._answers or AnswerTexts(self.tokenizer, self.settings, self.specials)
            return self._answers.texts(meaning)
        if isinstance(meaning, Segments) and not any(text for text, _ in meaning.pieces):
            return []
        assert isinstance(meaning, Conversation | Segments), "a row that was tokenized elsewhere has no text"
        found, special = self.specials.found(_own_words(meaning)), self.settings.special_tokens_in_content
        if found and special == "error":
            raise BadRow(f"its content holds special-token text: {', '.join(found)}")
        plain = bool(found) and special == "text"
        odd = oddities(meaning, None if self.settings.train_on_inputs else self.settings.roles_to_train)
        if isinstance(meaning, Segments):
            return [replace(self._segments(meaning, found, plain), noted=odd)]
        ends = self.conversations.ends != "none"
        flagged = not self.settings.roles_to_train or any(
            message.learned is not None or message.spans is not None for message in meaning.messages
        )
        pattern = self.specials.pattern if plain else None
        return [
            Text(
                *(one.text, one.spans, ends and one.answers, flagged, found, (), tuple(one.contents) * plain),
                *(one.masked, (*one.unwritten, *odd)),
            )
            for one in self.conversations.rendered(meaning, pattern)
        ]

    def _segments(self, meaning: Segments, found: tuple[str, ...], plain: bool) -> Text:
        text, spans, places = self._begin_text if meaning.closed else "", [], []
        begins = len(text)
        for piece, learned in meaning.pieces:
            places.append((len(text), len(text) + len(piece)))
            if learned:
                spans.append(places[-1])
            text += piece
        end = self._ending(meaning, plain)
        closes = meaning.closed and self.end is not None
        if closes:
            spans.append((len(text), len(text) + len(end)))
        if self.settings.train_on_inputs:
            spans = [(0, len(text) + len(end))]
        elif not meaning.apart and meaning.pieces[0][1]:
            spans[0] = (0, spans[0][1])  # plain text is learned from its begin token on
        cuts = tuple(start for start, _ in places) if meaning.apart else ()
        own = tuple((start + begins, stop + begins) for start, stop in meaning.own) if plain else ()
        return Text(text + end, spans, closes, False, found, cuts, own)

    def _ending(self, meaning: Segments, plain: bool) -> str:
        """The end tokens that the format writes; one that the row itself wrote last counts."""
        if not meaning.closed or self.end is None:
            return ""
        end = str(self.tokenizer.eos_token)
        written = not plain and meaning.pieces[-1][0].endswith(end)
        return end * (meaning.end_tokens - written)

    def encoded(self, text: Text) -> tuple[list[int], list[tuple[int, int]]]:
        """Token ids and offsets of a text that is not `whole`."""
        return encode_in_parts(self.tokenizer, text.text, text.cuts, text.plain, self.specials)

    def labels(self, text: Text, ids: Sequence[int], offsets: Sequence[tuple[int, int]]) -> list[int]:
        """BadRow as of `learned`."""
        starts, ends = [start for start, _ in offsets], [end for _, end in offsets]
        return labels_of(ids, self.learned(text, text.spans, ids, (starts, ends), text.masked))

    def learned(
        self,
        text: Text,
        spans: Sequence[Span],
        ids: Sequence[int],
        edges: tuple[Sequence[int], Sequence[int]],
        masked: Sequence[Span],
    ) -> list[Span]:
        """The runs of tokens that are learned. `spans`, `masked` (the text's) and `edges` (where each token starts, and
        where it ends) are in one unit. BadRow if the row breaks the contract: two begin tokens, nothing learned, or an
        end that is not learned."""
        runs = learned_runs(ids, *edges, spans, self.specials.ids)
        if masked:
            runs = without_masked(runs, *edges, masked)
        if self.begin is not None and list(ids[:2]) == [self.begin, self.begin]:
            raise BadRow(
                "the text begins with two begin-of-sequence tokens; the template writes one and the data holds another"
            )
        last = int(ids[runs[-1][1] - 1]) if runs else None
        if last is None and text.flagged:
            raise Unlearned("its own flags let nothing be learned")
        if last is None:
            raise BadRow(
                "nothing in it is learned: no turn of roles_to_train, or none that the row's own flags let learn. "
                "Remove the row, or set train_on_inputs: true"
            )
        if text.closes and last not in self.stop_ids:
            raise BadRow("the token that ends the assistant's turn is not learned, so the model would not stop")
        return runs


def _unknown(tokenizer: Any) -> int | None:
    """The token for what the tokenizer cannot write, where that means nothing else."""
    text = tokenizer.special_tokens_map.get("unk_token")
    others = {tokenizer.special_tokens_map.get(name) for name in ("bos_token", "eos_token")}
    return tokenizer.convert_tokens_to_ids(str(text)) if text is not None and text not in others else None


def _own_words(meaning: Conversation | Segments) -> list[str]:
    """What the row itself says, wherever the template or the format puts it."""
    if isinstance(meaning, Conversation):
        return [*(message.content for message in meaning.messages), *beside(meaning)]
    text = "".join(piece for piece, _ in meaning.pieces) if meaning.own else ""
    return [text[start:end] for start, end in meaning.own]
