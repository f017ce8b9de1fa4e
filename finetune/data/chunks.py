"""A stretch of rows -> their tokens, with the learned ones marked, as flat arrays. The work of one process on one
stretch: what it makes hangs on the rows alone, never on how many processes there are. Knows no other stretch."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from finetune.data.answers import besides, fitted, sides_of
from finetune.data.bad_rows import BadOne
from finetune.data.bare import BareTokenizer, Facts
from finetune.data.encoding import CallEncoder, Encoded, Encoder, difference, encoder_of
from finetune.data.files import ByteRange, DataFile, raw_rows
from finetune.data.growing import Chunk, Growing, Span, sum_into
from finetune.data.sources import Found, Reading, meanings
from finetune.formats.meaning import Asked, BadRow, Row, Tokens
from finetune.rendering.labels import settings_of
from finetune.rendering.lengths import IGNORED, Lengths, Lost, is_plain_text
from finetune.rendering.rows import ANSWERS, RowTexts, Unlearned
from finetune.rendering.specials import Specials
from finetune.rendering.texts import Text

BATCH_ROWS = 64
LONG_TEXT = 2**16
"""Characters of a text by which two ways to tokenize are compared."""


@dataclass(frozen=True)
class Setup:
    """What every process is told once. `readings`: one for each entry of the recipe's data; `labels`: the settings of
    LabelSettings that an entry's group names."""

    facts: Facts
    readings: Sequence[Reading]
    labels: Sequence[Mapping[str, Any]]
    lengths: Lengths
    exact: bool = False


@dataclass(frozen=True)
class Stretch:
    """Rows of one entry: the lines of a file that begin in a range, or rows that were read already."""

    entry: int
    file: DataFile | None = None
    part: ByteRange | None = None
    rows: Sequence[Found] = ()

    def found(self) -> Iterator[Found]:
        if self.file is None:
            return iter(self.rows)
        file = self.file
        return ((file.name, number, raw) for number, raw in raw_rows(file, self.part))


class TokensDiffer(Exception):
    """Two ways to tokenize, of which one was proved to be the other, gave different tokens."""


class Maker:
    """Makes chunks in one process. `tokenizer`: the loaded one itself, where its facts do not say all."""

    def __init__(self, setup: Setup, tokenizer: Any = None) -> None:
        self.setup = setup
        tokenizer = tokenizer or BareTokenizer(setup.facts)
        specials = Specials(tokenizer)
        self.texts = [RowTexts(tokenizer, settings_of(settings), specials) for settings in setup.labels]
        self.encoder: Encoder
        self.encoder, self.why = encoder_of(setup.facts.rules, exact=setup.exact)
        if not isinstance(tokenizer, BareTokenizer):
            self.encoder, self.why = CallEncoder(tokenizer), "it does more than its tokenizer.json says"

    def chunk(self, stretch: Stretch) -> Chunk:
        made = Growing(Chunk(stretch.entry), self.setup.lengths)
        rows: list[Row] = []
        for row in meanings(made.passing(stretch.found()), self.setup.readings[stretch.entry]):
            if isinstance(row, BadOne):
                made.chunk.bad.append(row)
                continue
            rows.append(row)
            if len(rows) == BATCH_ROWS:
                self._add(rows, made)
                rows = []
        self._add(rows, made)
        made.chunk.stop_ids = frozenset(stop for texts in self.texts for stop in texts.stop_ids)
        return made.finished()

    def _add(self, rows: Sequence[Row], made: Growing) -> None:
        texts = [self._texts(row, made) for row in rows]
        whole = [text.text for _, several in texts for text in several if isinstance(text, Text) and text.whole]
        if not made.checked and whole:
            made.checked = True
            if wrong := difference([whole[0][:LONG_TEXT]], self.encoder, self.encoder.exact):
                raise TokensDiffer(wrong)
        encoded = iter(self.encoder.encode(whole))
        for row, (number, several) in zip(rows, texts, strict=True):
            if isinstance(row.meaning, ANSWERS):
                self._add_answers(row, number, several, encoded, made)
                continue
            for text in several:
                self._add_text(row, number, text, encoded, made)

    def _add_answers(
        self, row: Row, number: int, several: Sequence[Text | Tokens], encoded: Iterator[Encoded], made: Growing
    ) -> None:
        """The sides of a row: both are kept, or none."""
        whole = [next(encoded) if isinstance(text, Text) and text.whole else None for text in several]
        sides = []
        try:
            for text, one in zip(several, whole, strict=True):
                assert isinstance(text, Text)
                sides.append(self._learned(row, text, one))
                self._look_for_unknown(row, number, sides[-1][0], made)
        except BadRow as bad:
            made.chunk.refused.append((number, str(bad)))
            return
        if not sides:
            return
        lost = Lost()
        try:
            kept = fitted(sides_of(sides), self.setup.lengths, lost)
        except ValueError as reason:
            made.chunk.too_long.append((number, f"it has {reason}"))
            return
        if lost != Lost():
            sum_into(made.lost(number), lost)
        for side in kept:
            made.put(number, side.ids, [(side.start, side.end)])
        if kept and (said := besides(row.meaning)) is not None:
            made.chunk.besides[number] = said

    def _learned(self, row: Row, text: Text, one: Encoded | None) -> tuple[Any, list[Span]]:
        """(token ids, the runs that are learned) of a text; none of a question's are."""
        texts = self.texts[row.group]
        if one is not None:
            ids, edges = one.ids, (one.starts, one.ends)
            spans, masked = one.placed(text.text, text.spans), one.placed(text.text, text.masked)
        else:
            ids, offsets = texts.encoded(text)
            spans, masked = text.spans, text.masked
            edges = ([start for start, _ in offsets], [end for _, end in offsets])
        if not isinstance(row.meaning, Asked):
            return ids, texts.learned(text, spans, ids, edges, masked)
        if texts.begin is not None and list(ids[:2]) == [texts.begin, texts.begin]:
            raise BadRow("the question begins with two begin-of-sequence tokens; remove the one that the data holds")
        return ids, []

    def _look_for_unknown(self, row: Row, number: int, ids: Any, made: Growing) -> None:
        """Once for each row."""
        unknown = self.texts[row.group].unknown
        if unknown is not None and unknown in ids:
            made.lost(number).unknown = 1

    def _texts(self, row: Row, made: Growing) -> tuple[int, Sequence[Text | Tokens]]:
        number = made.row(row)
        if isinstance(row.meaning, Tokens):
            return number, [row.meaning]
        try:
            texts = self.texts[row.group].texts(row.meaning)
            for text in texts:
                if not text.text.isascii():
                    text.text.encode("utf-8")
        except UnicodeEncodeError as bad:
            made.chunk.refused.append((number, f"half a surrogate pair at character {bad.start}"))
            return number, []
        except BadRow as bad:
            made.chunk.refused.append((number, str(bad)))
            return number, []
        if texts and texts[0].noted:
            made.lost(number).note(texts[0].noted)
        if not texts:
            made.lost(number).too_short += 1
        elif texts[0].special and not texts[0].plain:
            made.chunk.special[number] = texts[0].special
        return number, texts

    def _add_text(self, row: Row, number: int, text: Text | Tokens, encoded: Iterator[Encoded], made: Growing) -> None:
        try:
            if isinstance(text, Tokens):
                ids, runs = _of_tokens(text)
            else:
                ids, runs = self._learned(row, text, next(encoded) if text.whole else None)
                self._look_for_unknown(row, number, ids, made)
        except Unlearned:
            made.lost(number).unlearned += 1
        except BadRow as bad:
            made.chunk.refused.append((number, str(bad)))
        else:
            made.add(number, ids, runs, is_plain_text(row.meaning))


def _of_tokens(row: Tokens) -> tuple[Any, list[Span]]:
    """BadRow if a label is another token than the one it stands at: the trainer learns the token itself."""
    runs: list[Span] = []
    for place, (token, label) in enumerate(zip(row.input_ids, row.labels, strict=True)):
        if label == IGNORED:
            continue
        if label != token:
            raise BadRow(f"label {place + 1} is {label}, and the token there is {token}: a label is the token or -100")
        if runs and runs[-1][1] == place:
            runs[-1] = (runs[-1][0], place + 1)
        else:
            runs.append((place, place + 1))
    return row.input_ids, runs
