"""What a person should know of prepared rows that are used all the same: special-token text in them, and what their
template never writes, or writes anew each day. Stops nothing."""

import re
from collections.abc import Collection, Iterator
from datetime import datetime
from typing import Any

from finetune.formats.meaning import BadRow, Message
from finetune.rendering.examples import Counted
from finetune.rendering.odd import odd_texts
from finetune.rendering.specials import special_text
from finetune.rendering.template import render
from finetune.rendering.unwritten import REASONING, TOOLS, unwritten_texts

SOURCES_SHOWN = 10


def warnings_of(counted: Counted, said: Collection[str] = ()) -> Iterator[str]:
    """Of the sources that come first, but for those of `said`, each a sentence that begins with `warning`."""
    for source, rows in [one for one in counted.special.items() if one[0] not in said][:SOURCES_SHOWN]:
        yield special_text(source, rows)
    for source, lost in [one for one in counted.sources.items() if one[0] not in said][:SOURCES_SHOWN]:
        yield from unwritten_texts(source, {TOOLS: lost.tools, REASONING: lost.reasoning})
        yield from odd_texts(source, lost)


def dated(tokenizer: Any) -> Iterator[str]:
    """A warning, if the chat template writes the day on which it runs into a conversation."""
    formats = re.findall(r"""strftime_now\(\s*["']([^"']+)["']""", str(tokenizer.chat_template or ""))
    try:
        text = render(tokenizer, (Message("user", "Qx4"), Message("assistant", "Zq7"))) if formats else ""
    except BadRow:
        return
    if any(datetime.now().strftime(one) in text for one in formats):
        yield (
            "warning: the chat template writes today's date into every row: rows that are prepared on another day "
            "differ, and so do snapshots. chat_template_kwargs: {date_string: 26 Jul 2024} sets one, in templates that "
            "read it; a system message does in others"
        )
