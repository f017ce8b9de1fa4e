"""Answers -> the JSON that OpenAI's clients read. Knows no model and no server."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

FINISHED = {"stop": "stop", "length": "length"}


@dataclass(frozen=True)
class Shape:
    """Of one request's answers: a chat's message or a plain text."""

    model: str
    chat: bool
    id: str = field(default_factory=lambda: secrets.token_hex(12))
    created: int = field(default_factory=lambda: int(time.time()))

    def _frame(self, chunk: bool, choices: list[dict[str, Any]]) -> dict[str, Any]:
        kind = "chat.completion" + ".chunk" * chunk if self.chat else "text_completion"
        return {
            "id": ("chatcmpl-" if self.chat else "cmpl-") + self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def whole(self, texts: list[tuple[str, str]], usage: Mapping[str, int]) -> dict[str, Any]:
        """`texts`: each answer with how it ended."""
        choices = []
        for number, (text, ended) in enumerate(texts):
            said: dict[str, Any] = (
                {"message": {"role": "assistant", "content": text, "refusal": None}} if self.chat else {"text": text}
            )
            choices.append({"index": number, **said, "logprobs": None, "finish_reason": FINISHED[ended]})
        return self._frame(False, choices) | {"usage": dict(usage)}

    def begins(self, number: int) -> bytes:
        """The first event of an answer; nothing for a plain text."""
        return self._event(number, {"role": "assistant", "content": ""}, None) if self.chat else b""

    def piece(self, number: int, text: str) -> bytes:
        return self._event(number, {"content": text}, None)

    def ends(self, number: int, ended: str) -> bytes:
        return self._event(number, {}, FINISHED[ended])

    def _event(self, number: int, delta: Mapping[str, Any], ended: str | None) -> bytes:
        said = {"delta": delta} if self.chat else {"text": delta.get("content", "")}
        return event(self._frame(True, [{"index": number, **said, "logprobs": None, "finish_reason": ended}]))

    def usage(self, usage: Mapping[str, int]) -> bytes:
        """The event after the last of an answer, where it was asked for."""
        return event(self._frame(True, []) | {"usage": dict(usage)})


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
