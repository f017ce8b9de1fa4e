"""A tokenizer as a process that prepares rows needs it: its rules, names and template, without the libraries around it.
Decides nothing; it can be sent to another process."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Added:
    """An added token, as far as it is asked for."""

    content: str
    special: bool


@dataclass(frozen=True)
class Facts:
    """All of a tokenizer that tokens and labels hang on, as values that JSON and pickle take."""

    rules: str
    """tokenizer.json."""
    chat_template: Any
    names: Mapping[str, str]
    """bos_token and the like -> its text."""
    bos_token_id: int | None
    eos_token_id: int | None
    special_ids: tuple[int, ...]
    special_tokens: tuple[str, ...]
    begins: bool
    """Whether plain text gets a begin-of-sequence token."""


def facts_of(tokenizer: Any) -> Facts:
    """Of a fast tokenizer of transformers that has its chat template."""
    begins = tokenizer("a", add_special_tokens=True)["input_ids"][:1] == [tokenizer.bos_token_id]
    return Facts(
        rules=_sorted(tokenizer.backend_tokenizer.to_str()),
        chat_template=tokenizer.chat_template,
        names={name: str(text) for name, text in tokenizer.special_tokens_map.items()},
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        special_ids=tuple(tokenizer.all_special_ids),
        special_tokens=tuple(map(str, tokenizer.all_special_tokens)),
        begins=begins and tokenizer.bos_token is not None,
    )


def _sorted(rules: str) -> str:
    """Without what a call before this one may have left in them."""
    return json.dumps(json.loads(rules) | {"truncation": None, "padding": None}, sort_keys=True, ensure_ascii=False)


@dataclass
class BareTokenizer:
    """Answers what rendering asks of a tokenizer, as the one whose facts it has."""

    facts: Facts
    is_fast: bool = True
    _backend: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        from tokenizers import Tokenizer

        facts = self.facts
        self._backend = Tokenizer.from_str(facts.rules)
        # It adds special tokens, which no text here asks for, and may take white space off the places of tokens.
        self._backend.post_processor = None
        self.chat_template = facts.chat_template
        self.special_tokens_map = dict(facts.names)
        self.bos_token, self.eos_token = facts.names.get("bos_token"), facts.names.get("eos_token")
        self.bos_token_id, self.eos_token_id = facts.bos_token_id, facts.eos_token_id
        self.all_special_ids, self.all_special_tokens = list(facts.special_ids), list(facts.special_tokens)
        self.added_tokens_decoder = {
            number: Added(token.content, token.special)
            for number, token in self._backend.get_added_tokens_decoder().items()
        }

    def __len__(self) -> int:
        return int(self._backend.get_vocab_size(with_added_tokens=True))

    def get_vocab(self) -> dict[str, int]:
        return dict(self._backend.get_vocab(with_added_tokens=True))

    def convert_tokens_to_ids(self, token: str) -> int | None:
        found = self._backend.token_to_id(token)
        return None if found is None else int(found)

    def __call__(
        self,
        text: str | Sequence[str],
        add_special_tokens: bool = False,
        split_special_tokens: bool = False,
        **shape: Any,
    ) -> dict[str, list[Any]]:
        """Token ids and offsets of one text or of several."""
        del shape  # both are given always
        if add_special_tokens:
            return {"input_ids": [self.bos_token_id] * self.facts.begins}
        texts = [text] if isinstance(text, str) else list(text)
        self._backend.encode_special_tokens = split_special_tokens
        encoded = self._backend.encode_batch(texts, add_special_tokens=False)
        ids, offsets = [one.ids for one in encoded], [one.offsets for one in encoded]
        one = isinstance(text, str)
        return {"input_ids": ids[0] if one else ids, "offset_mapping": offsets[0] if one else offsets}
