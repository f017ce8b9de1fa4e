"""Answers -> the JSON that OpenAI's clients read. Knows no model and no server."""

import itertools
import json
import secrets
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.answering.likely import Likely

FINISHED = {"stop": "stop", "length": "length"}
Told = Sequence[Likely] | None
"""How likely the tokens of an answer were; None where nobody asked."""


@dataclass(frozen=True)
class Shape:
    """Of one request's answers: a chat's message or a plain text."""

    model: str
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))
    _letters: dict[int, int] = field(default_factory=dict)

    def _frame(self, chunk: bool, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion" + ".chunk" * chunk if self.chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.chat else "cmpl-") + self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def whole(self, answers: Sequence[tuple[str, str, Told]], usage: Mapping[str, int]) -> dict[str, Any]:
        """`answers`: text, how it ended, and how likely its tokens were."""
        choices = []
        for number, (text, ended, told) in enumerate(answers):
            said: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
            )
            choices.append({"index": number, **said, "logprobs": self._told(told, 0), "finish_reason": FINISHED[ended]})
        return self._frame(False, choices) | {"usage": dict(usage)}

    def begins(self, number: int) -> bytes:
        """The first event of an answer; nothing for a plain text."""
        return self._event(number, {"role": "assistant", "content": ""}, None) if self.chat else b""

    def piece(self, number: int, text: str, told: Told = None) -> bytes:
        """An event with some more of an answer."""
        logprobs = self._told(told, self._letters.get(number, 0))
        self._letters[number] = self._letters.get(number, 0) + sum(len(one.text) for one in told or ())
        return self._event(number, {"content": text}, None, logprobs)

    def ends(self, number: int, ended: str) -> bytes:
        return self._event(number, {}, FINISHED[ended])

    def _event(self, number: int, delta: Mapping[str, Any], ended: str | None, logprobs: Any = None) -> bytes:
        said = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return event(self._frame(True, [{"index": number, **said, "logprobs": logprobs, "finish_reason": ended}]))

    def _told(self, told: Told, first: int) -> dict[str, Any] | None:
        """`first`: letters of the answer's tokens before these, which plain texts count."""
        if told is None:
            return None
        if self.chat:
            content = [_one(one) | {"top_logprobs": [_one(other) for other in one.others]} for one in told]
            return {"content": content, "refusal": None}
        lengths = itertools.accumulate((len(one.text) for one in told), initial=first)
        return {
            "tokens": [one.text for one in told],
            "token_logprobs": [one.logprob for one in told],
            "top_logprobs": [{other.text: other.logprob for other in (*one.others, one)} for one in told],
            "text_offset": list(lengths)[:-1],
        }

    def usage(self, usage: Mapping[str, int]) -> bytes:
        """The event after the last of an answer, where it was asked for."""
        return event(self._frame(True, []) | {"usage": dict(usage)})


def _one(one: Likely) -> dict[str, Any]:
    return {"token": one.text, "logprob": one.logprob, "bytes": None if one.bytes is None else list(one.bytes)}


DONE = b"data: [DONE]\n\n"


def event(data: Mapping[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False).encode() + b"\n\n"


def usage_of(prompt_tokens: int, answer_tokens: int) -> dict[str, int]:
    total = prompt_tokens + answer_tokens
    return {"prompt_tokens": prompt_tokens, "completion_tokens": answer_tokens, "total_tokens": total}


def models(names: tuple[str, ...], created: int) -> dict[str, Any]:
    return {"object": "list", "data": [model(name, created) for name in names]}


def model(name: str, created: int) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": created, "owned_by": "finetune"}
