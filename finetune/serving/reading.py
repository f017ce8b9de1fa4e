"""A request's JSON -> what is asked and how answers are drawn. Every field is honoured, refused by name, or known to
mean nothing here. Knows no server and no queue."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from finetune.answering.prompt_rows import messages_of, refuse_half_characters, tools_of
from finetune.answering.settings import Settings, changed
from finetune.generation import Prompt, prompt_for
from finetune.serving.refusing import Refused, wrong

CHOICES = 16
"""Answers to one question, at most."""
WITHOUT_EFFECT = frozenset(
    "user metadata store service_tier safety_identifier prompt_cache_key prompt_cache_retention verbosity".split()
)
"""Fields by which OpenAI keeps books; no answer hangs on them."""
DRAWING = "temperature top_p top_k min_p repetition_penalty frequency_penalty presence_penalty seed stop".split()
SHARED = ("model", "stream", "stream_options", "max_tokens", "n", "logprobs", *DRAWING)
OF_CHATS = ("messages", "max_completion_tokens", "tools", "tool_choice", "parallel_tool_calls", "top_logprobs")
CHAT = frozenset((*SHARED, *OF_CHATS))
PLAIN = frozenset((*SHARED, "prompt"))
MOST_OTHERS = {True: 20, False: 5}
"""Other tokens that are told with each, at most: in a chat, else."""
WAY_OUT = {"response_format": ". vLLM can bind what a model writes: finetune serve RUN --engine vllm"}
NEUTRAL: Mapping[str, tuple[Any, ...]] = {
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "response_format": ({"type": "text"},),
    "modalities": (["text"],),
    "echo": (False,),
    "best_of": (1,),
    "suffix": ("",),
}
"""Fields that are not honoured, with the values that ask for nothing."""


@dataclass(frozen=True)
class Asked:
    """`prompts`: one for a chat, one or more for plain texts; `choices`: answers to each; `others`: how many other
    tokens are told with each one, and how likely all were; None where that was not asked for."""

    prompts: tuple[Prompt, ...]
    settings: Settings
    choices: int
    stream: bool
    usage: bool
    others: int | None


def chat_asked(body: Any, names: tuple[str, ...], style: str, settings: Settings) -> Asked:
    """A request for a chat's next message. Refused for what cannot be."""
    given = _checked(body, names, CHAT)
    try:
        tools = tools_of(given.get("tools"))
    except ValueError as error:
        raise wrong("tools", str(error).replace("`", "")) from None
    if given.get("tool_choice") not in (None, "none", "auto"):
        raise wrong("tool_choice", "tool_choice is honoured as none and auto only: a model cannot be made to call")
    shown = tools if given.get("tool_choice") != "none" else None
    prompt = _chat_prompt(given.get("messages"), style, shown)
    return _asked(given, (prompt,), settings, _others_in_chat(given))


def plain_asked(body: Any, names: tuple[str, ...], settings: Settings) -> Asked:
    """A request to go on with one text or several, as they are."""
    given = _checked(body, names, PLAIN)
    prompts = given.get("prompt")
    texts = [prompts] if isinstance(prompts, str) else prompts
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) and text for text in texts):
        raise wrong("prompt", "prompt must be a text or a list of texts, none of them empty")
    try:
        refuse_half_characters(*texts)
    except ValueError as error:
        raise wrong("prompt", str(error)) from None
    others = given.get("logprobs")
    if others is not None:
        others = _count("logprobs", others, MOST_OTHERS[False])
    return _asked(given, tuple(Prompt(text, text=text) for text in texts), settings, others)


def _checked(body: Any, names: tuple[str, ...], known: frozenset[str]) -> dict[str, Any]:
    if not isinstance(body, dict):
        raise Refused(400, "the body must be a JSON object")
    given = {name: value for name, value in body.items() if value is not None}
    for name, value in given.items():
        if name in known or name in WITHOUT_EFFECT:
            continue
        if name in NEUTRAL:
            if value not in NEUTRAL[name]:
                why = f"{name} is not supported here: leave it out{WAY_OUT.get(name, '')}"
                raise Refused(400, why, name, "unsupported_parameter")
            continue
        raise Refused(400, f"unknown field: {name}", name, "unknown_parameter")
    model = given.get("model")
    if not isinstance(model, str):
        raise wrong("model", f"model must be named: {', '.join(names)}")
    if model not in names:
        raise Refused(404, f"there is no model {model!r} here; there is {', '.join(names)}", "model", "model_not_found")
    return given


def _chat_prompt(messages: Any, style: str, tools: tuple[Mapping[str, Any], ...] | None) -> Prompt:
    try:
        read = messages_of(messages)
    except ValueError as error:
        raise wrong("messages", str(error).replace("`", "")) from None
    if style == "chat_template":
        return Prompt("", messages=read, tools=tools)
    if tools or len(read) != 1 or read[0].role != "user":
        raise wrong("messages", "this model learned from single questions: send one message of the user")
    return prompt_for(read[0].content, style)


def _others_in_chat(given: Mapping[str, Any]) -> int | None:
    wanted = given.get("logprobs", False)
    if not isinstance(wanted, bool):
        raise wrong("logprobs", "logprobs must be true or false")
    others = _count("top_logprobs", given.get("top_logprobs", 0), MOST_OTHERS[True])
    if others and not wanted:
        raise wrong("top_logprobs", "top_logprobs needs logprobs: true")
    return others if wanted else None


def _count(name: str, value: Any, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= most:
        raise wrong(name, f"{name} must be a whole number from 0 to {most}")
    return value


def _asked(given: Mapping[str, Any], prompts: tuple[Prompt, ...], settings: Settings, others: int | None) -> Asked:
    stream, options = given.get("stream", False), given.get("stream_options")
    if not isinstance(stream, bool):
        raise wrong("stream", "stream must be true or false")
    if options is not None and not (stream and isinstance(options, dict)):
        raise wrong("stream_options", "stream_options is an object, and needs stream: true")
    choices = given.get("n", 1)
    if not isinstance(choices, int) or isinstance(choices, bool) or not 1 <= choices * len(prompts) <= CHOICES:
        raise wrong("n", f"n must be a whole number, and no more than {CHOICES} answers are written to one request")
    values = {name: given[name] for name in DRAWING if name in given}
    tokens = {name: given[name] for name in ("max_tokens", "max_completion_tokens") if name in given}
    if len(set(map(repr, tokens.values()))) > 1:
        raise wrong("max_tokens", "max_tokens and max_completion_tokens say different things: leave one out")
    if tokens:
        values["max_new_tokens"] = next(iter(tokens.values()))
    try:
        own = changed(settings, values)
    except ValueError as error:
        message = str(error).replace("max_new_tokens", next(iter(tokens), "max_tokens"))
        raise wrong(message.split(" ")[0], message) from None
    usage = bool((options or {}).get("include_usage", False))
    return Asked(prompts, own, choices, stream, usage, others)
