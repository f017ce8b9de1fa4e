"""Tokens, one by one -> the text that can be shown by now, and whether a stop text ended it. Knows no model."""

from typing import Any

CUT = "\ufffd"
"""What the bytes of half a character are read as."""


class Growing:
    """An answer while it is written. White space around it is no part of it, as everywhere; `raw`: it is, and so are
    special tokens. What may still turn out to be the beginning of a stop text is held back."""

    def __init__(self, tokenizer: Any, stop: tuple[str, ...] = (), raw: bool = False) -> None:
        self.tokenizer, self.stop, self.raw = tokenizer, stop, raw
        self.ids: list[int] = []
        self.text = ""
        self._read, self._until = 0, 0
        self._given = 0
        self.stopped = False

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, skip_special_tokens=not self.raw))

    def add(self, token: int) -> None:
        """One more token. `stopped` is true from then on if a stop text is complete; the text ends before it."""
        self.ids.append(token)
        # From a few tokens before: some tokenizers write a space between tokens, or none at the beginning of a text.
        known, now = self._decode(self.ids[self._read : self._until]), self._decode(self.ids[self._read :])
        if len(now) > len(known) and not now.endswith(CUT):
            self._grow(now[len(known) :])
            self._read, self._until = self._until, len(self.ids)

    def _grow(self, more: str) -> None:
        longest = max((len(stop) for stop in self.stop), default=0)
        start = max(0, len(self.text) - longest)
        self.text += more
        found = [place for stop in self.stop if (place := self.text.find(stop, start)) >= 0]
        if found:
            self.text, self.stopped = self.text[: min(found)], True

    def close(self) -> None:
        """No token will follow: half a character that is left over counts as it is."""
        if not self.stopped:
            known, now = self._decode(self.ids[self._read : self._until]), self._decode(self.ids[self._read :])
            self._grow(now[len(known) :])

    @property
    def answer(self) -> str:
        """All of it."""
        return self.text if self.raw else self.text.strip()

    def fresh(self, closed: bool = False) -> str:
        """What can be shown and was not given out yet."""
        text = self.text if self.raw else self.text.lstrip()
        if closed or self.stopped:
            ready = self.answer
        else:
            kept = max((_overlap(text, stop) for stop in self.stop), default=0)
            ready = text[: len(text) - kept]
            ready = ready if self.raw else ready.rstrip()
        piece = ready[self._given :]
        self._given = max(self._given, len(ready))
        return piece


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text are the beginning of `stop`."""
    for length in range(min(len(stop) - 1, len(text)), 0, -1):
        if stop.startswith(text[-length:]):
            return length
    return 0
