"""Preferences, judgements and questions -> texts with the answer that counts. The same templates, tokens and stop
contract as for rows to imitate; of a conversation the last answer alone. Knows no lengths."""

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from finetune.errors import DataError
from finetune.formats.meaning import Answered, Asked, BadRow, Conversation, Judged, Meaning, PreferencePair, Segments
from finetune.rendering.beside import beside
from finetune.rendering.conversation import Conversations
from finetune.rendering.layouts import LAYOUTS
from finetune.rendering.specials import Specials
from finetune.rendering.template import as_dicts, renderer_of
from finetune.rendering.templates import literal
from finetune.rendering.texts import Text, begin_of_text

if TYPE_CHECKING:
    from finetune.rendering.labels import LabelSettings

WORDINGS = {
    "chatml": LAYOUTS["chatml"].jinja,
    # Contents as they stand, and the begin token where the tokenizer puts one before plain text.
    "llama3": LAYOUTS["llama3"].jinja.replace("{{ bos_token }}", "").replace(".strip()", ""),
    "zephyr": LAYOUTS["zephyr"].jinja,
}
"""Name of a wording that a type brings -> its layout."""


class AnswerTexts:
    """Made anew in each process, from a tokenizer that has its chat template."""

    def __init__(self, tokenizer: Any, settings: "LabelSettings", specials: Specials) -> None:
        self.tokenizer, self.specials = tokenizer, specials
        self.settings = replace(
            settings,
            roles_to_train=("assistant",),
            train_on_inputs=False,
            train_on_eos="turn",
            train_on_eot=None,
            multiturn="last",
        )
        self.begin = begin_of_text(tokenizer)
        self._by_wording: dict[str | None, tuple[Any, Conversations]] = {}
        self._ends: set[int] = set()

    @property
    def stop_ids(self) -> frozenset[int]:
        turns = (conversations.end_ids for _, conversations in self._by_wording.values())
        return frozenset(self._ends.union(*turns))

    def texts(self, meaning: Meaning) -> list[Text]:
        """The chosen and the rejected side; the judged answer; or the question, of which nothing is learned. BadRow as
        RowTexts has it."""
        if isinstance(meaning, PreferencePair):
            return [self._answered(side) for side in (meaning.chosen, meaning.rejected)]
        if isinstance(meaning, Judged):
            return [self._answered(meaning.answer)]
        assert isinstance(meaning, Asked)
        return [self._asked(meaning.prompt)]

    def _conversations(self, wording: str | None) -> tuple[Any, Conversations]:
        if wording not in self._by_wording:
            tokenizer = self._own() if wording is None else self._worded(wording)
            self._by_wording[wording] = (tokenizer, Conversations(tokenizer, self.settings))
        return self._by_wording[wording]

    def _own(self) -> Any:
        """The tokenizer with the template of the row's entry."""
        if self.settings.template is None:
            return self.tokenizer
        tokenizer = copy.copy(self.tokenizer)
        tokenizer.chat_template = self.settings.template
        return tokenizer

    def _worded(self, wording: str) -> Any:
        """DataError if a mark of the wording is no token of this tokenizer."""
        vocabulary = self.tokenizer.get_vocab()
        missing = [mark for mark in LAYOUTS[wording].marks if mark not in vocabulary]
        if missing:
            raise DataError(
                f"datasets.type names a wording ({wording}) that writes {', '.join(missing)}, which this tokenizer "
                "does not know as one token. Write type: chat_template to use the recipe's template"
            )
        tokenizer = copy.copy(self.tokenizer)
        tokenizer.chat_template = f"{{{{ {literal(self.begin)} }}}}{WORDINGS[wording]}"
        return tokenizer

    def _found(self, contents: list[str]) -> tuple[tuple[str, ...], bool]:
        """(special-token texts in a row's own contents, whether they are read as text). BadRow under `error`."""
        found, how = self.specials.found(contents), self.settings.special_tokens_in_content
        if found and how == "error":
            raise BadRow(f"its content holds special-token text: {', '.join(found)}")
        return found, bool(found) and how == "text"

    def _answered(self, side: Answered) -> Text:
        if isinstance(side, Segments):
            return self._plain(side)
        found, plain = self._found([*(message.content for message in side.messages), *beside(side)])
        one = self._conversations(side.wording)[1].rendered(side, self.specials.pattern if plain else None)[-1]
        if not one.answers:
            raise BadRow("the row does not end with an answer of the assistant")
        places = tuple(one.contents) if plain else ()
        return Text(one.text, one.spans, True, False, found, (), places, noted=one.unwritten)

    def _plain(self, side: Segments) -> Text:
        """A prompt and the text that goes on from it. An end token follows unless the text brings one."""
        found, plain = self._found([text for text, _ in side.pieces])
        text, places, spans = self.begin, [], []
        for piece, learned in side.pieces:
            places.append((len(text), len(text) + len(piece)))
            spans += [places[-1]] if learned else []
            text += piece
        own = next((token for token in self.specials.texts if text.endswith(token)), None) if not plain else None
        if own is not None:
            self._ends.add(self.tokenizer.convert_tokens_to_ids(own))
        else:
            spans[-1] = (spans[-1][0], spans[-1][1] + len(str(self.tokenizer.eos_token)))
            text += str(self.tokenizer.eos_token)
        return Text(text, spans, True, False, found, (), tuple(places) if plain else ())

    def _asked(self, prompt: Answered) -> Text:
        if isinstance(prompt, Segments):
            found, plain = self._found([text for text, _ in prompt.pieces])
            text = self.begin + "".join(piece for piece, _ in prompt.pieces)
            return Text(text, [], False, False, found, (), ((len(self.begin), len(text)),) if plain else ())
        assert isinstance(prompt, Conversation)
        found, plain = self._found([*(message.content for message in prompt.messages), *beside(prompt)])
        if plain:
            raise BadRow(
                f"its content holds special-token text ({', '.join(found)}), which TRL reads as those tokens when it "
                "asks the model: special_tokens_in_content: text is not possible here"
            )
        tokenizer, _ = self._conversations(prompt.wording)
        return Text(renderer_of(tokenizer)(as_dicts(prompt.messages), prompt.tools, True), [], False, False, found)
