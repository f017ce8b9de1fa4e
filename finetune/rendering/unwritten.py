"""What a row brings beside its contents and a chat template never writes, found by rendering stand-ins. Knows no tokens
and no labels."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.formats.meaning import BadRow, Conversation
from finetune.rendering.template import Render

OFFERED, CALLED, THOUGHT = "Vj5fn", "Wk3fn", "Rv9"
"""Names of functions and a thought: words that no template writes itself."""
TOOLS, REASONING = "tools", "reasoning"
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
"""Names under which templates read a message's reasoning."""
_USER = {"role": "user", "content": "Qx4"}


class Unwritten:
    """Asks a template once for each kind, when the first row brings it."""

    def __init__(self, render: Render) -> None:
        self._render = render
        self._written: dict[str, bool] = {}

    def of(self, conversation: Conversation) -> tuple[str, ...]:
        """Of TOOLS and REASONING what the row brings and the template leaves out. BadRow if that is a tool call: its
        turn would be learned as an empty answer."""
        if conversation.tools is None and not any(message.extra for message in conversation.messages):
            return ()
        for number, message in enumerate(conversation.messages, 1):
            if message.extra.get("tool_calls") and not self._asked("tool_calls"):
                raise BadRow(
                    f"turn {number}: the chat template does not write tool calls, so this one would be learned as an "
                    "answer without it. Choose a template that does (the model's own, or trl/qwen3), or leave such "
                    "rows out"
                )
        keys = {key for message in conversation.messages for key in THOUGHTS if _said(message.extra.get(key))}
        left_out = [TOOLS] if conversation.tools and not self._asked(TOOLS) else []
        return (*left_out, *([REASONING] if keys and not any(map(self._asked, sorted(keys))) else []))

    def _asked(self, kind: str) -> bool:
        if kind not in self._written:
            self._written[kind] = self._writes(kind)
        return self._written[kind]

    def _writes(self, kind: str) -> bool:
        """A template that refuses the stand-ins judges the rows themselves."""
        try:
            if kind == TOOLS:
                return OFFERED in self._render([_USER, {"role": "assistant", "content": "Zq7"}], _offered(), False)
            if kind == "tool_calls":
                return CALLED in self._render(_called(), None, False)
            answer = {"role": "assistant", "content": "Zq7", kind: THOUGHT}
            return THOUGHT in self._render([_USER, answer], None, False)
        except BadRow:
            return True


def _said(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _offered() -> Sequence[dict[str, Any]]:
    place = {"type": "object", "properties": {"city": {"type": "string", "description": "c"}}, "required": ["city"]}
    return [{"type": "function", "function": {"name": OFFERED, "description": "d", "parameters": place}}]


def _called() -> list[dict[str, Any]]:
    # Mistral's templates ask for nine letters or digits.
    call = {"id": "abcdefghi", "type": "function", "function": {"name": CALLED, "arguments": {"city": "Qx4"}}}
    said = {"role": "tool", "content": "Zq7", "name": CALLED, "tool_call_id": "abcdefghi"}
    return [_USER, {"role": "assistant", "content": "", "tool_calls": [call]}, said]


def unwritten_texts(source: str, rows: Mapping[str, int]) -> Iterator[str]:
    """Warnings about a source. `rows`: TOOLS and REASONING -> how many rows bring what is left out."""
    why = {
        TOOLS: "the model is not told what it may call",
        REASONING: "it is not learned. template_thinking_key names the field that a template reads, where it has one",
    }
    for kind, number in rows.items():
        if number:
            yield f"warning: {source}: {number} rows bring {kind}, which the chat template never writes: {why[kind]}"
