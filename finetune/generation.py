"""Questions -> prompts -> answers, the same way before and after training and in `chat`. Knows no recipe."""

import itertools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

from finetune.formats import alpaca
from finetune.formats.meaning import (
    Asked,
    BadRow,
    Conversation,
    Judged,
    Meaning,
    Message,
    PreferencePair,
    Row,
    Segments,
    Tokens,
)
from finetune.rendering.template import as_dicts, renderer_of
from finetune.rendering.texts import begin_of_text


@dataclass(frozen=True)
class Prompt:
    """What an answer continues: messages for a chat template, or finished text. `expected`: the data's own answer;
    `tools`: what the template is given as such; `begins`: the text holds its begin token itself, if it has one;
    `cuts`: where in it no token may reach over, as the data was tokenized."""

    question: str
    messages: tuple[Message, ...] = ()
    text: str = ""
    expected: str = ""
    tools: tuple[Mapping[str, Any], ...] | None = None
    begins: bool = False
    cuts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Answer:
    """`stopped`: it ended by a stop token and not by the length limit. `tokens`: how many were generated."""

    text: str
    stopped: bool
    tokens: int


OPENING_WORDS = 8
"""Words of a plain text that a sample answer goes on from."""


PLACE = "{instruction}"
_SAID = "assistant, before"
"""Role of an answer that is part of the question."""


def style_of(rows: Sequence[Row]) -> str:
    """How a question is put to a model trained on these rows: by the chat template, as it is, or in a text with
    {instruction} in its place."""
    meaning = _told(rows[0].meaning)
    if isinstance(meaning, Conversation):
        return "chat_template"
    return (meaning.ask if isinstance(meaning, Segments) else None) or "completion"


def prompt_for(question: str, style: str) -> Prompt:
    if style == "chat_template":
        return Prompt(question, messages=(Message("user", question),))
    if style == "completion":
        return Prompt(question, text=question)
    asked = alpaca.prompt(PLACE) if style == "alpaca" else style  # runs from before formats had their own prompts
    return Prompt(question, text=asked.replace(PLACE, question))


def sample_prompts(*, prompts: list[str] | None, from_rows: int, rows: Sequence[Row]) -> list[Prompt]:
    """The recipe's questions, or the first ones of the rows (up to `from_rows`)."""
    style = style_of(rows)
    if prompts is not None:
        return [prompt_for(question, style) for question in prompts]
    found = (_opening(_told(row.meaning)) for row in rows)
    return [prompt for prompt in found if prompt is not None][:from_rows]


def _told(meaning: Meaning) -> Conversation | Segments | Tokens:
    """Of a row whose answers are compared, judged or rewarded: the question with the better answer, the one there is,
    or none."""
    if isinstance(meaning, PreferencePair):
        return _last(meaning.chosen)
    if isinstance(meaning, Judged):
        return _last(meaning.answer)
    if isinstance(meaning, Asked):
        if isinstance(meaning.prompt, Segments):
            return Segments((*meaning.prompt.pieces, ("", True)))
        return _last(Conversation((*meaning.prompt.messages, Message("assistant", "")), meaning.prompt.tools))
    return meaning


def _last(told: Conversation | Segments) -> Conversation | Segments:
    """With the answers before the last as what was said, so that the last is the one that is asked for."""
    if isinstance(told, Segments):
        return told
    *before, answer = told.messages
    said = [
        Message(_SAID if turn.role == "assistant" else turn.role, turn.content, extra=turn.extra) for turn in before
    ]
    return Conversation((*said, answer), told.tools)


def _opening(meaning: Conversation | Segments | Tokens) -> Prompt | None:
    """The row up to its first answer; None where there is nothing before it, or no text at all."""
    if isinstance(meaning, Tokens):
        return None
    if isinstance(meaning, Segments):
        if len(meaning.pieces) == 1:  # plain text: its first words are the question, the rest is the answer
            words = meaning.pieces[0][0].split(" ")
            start = " ".join(words[:OPENING_WORDS])
            return Prompt(start, text=start, expected=" ".join(words[OPENING_WORDS:]))
        learned = next((number for number, (_, learned) in enumerate(meaning.pieces) if learned), 0)
        text = "".join(piece for piece, _ in meaning.pieces[:learned])
        answer = meaning.pieces[learned][0]
        sizes = itertools.accumulate(len(piece) for piece, _ in meaning.pieces[:learned])
        cuts = tuple(size for size in sizes if 0 < size < len(text)) if meaning.apart else ()
        return Prompt(text, text=text, expected=answer, begins=not meaning.closed, cuts=cuts) if text else None
    for number, message in enumerate(meaning.messages):
        if message.role == "assistant":
            before = tuple(
                replace(turn, role="assistant") if turn.role == _SAID else turn for turn in meaning.messages[:number]
            )
            question = next((turn.content for turn in reversed(before) if turn.role == "user"), "")
            return Prompt(question, before, expected=message.content, tools=meaning.tools) if before else None
    return None


def prompt_text(prompt: Prompt, tokenizer: Any) -> str:
    if prompt.messages:
        return renderer_of(tokenizer)(as_dicts(prompt.messages), prompt.tools, True)
    return prompt.text if prompt.begins else begin_of_text(tokenizer) + prompt.text


def refuse_unseen_tools(prompt: Prompt, tokenizer: Any) -> None:
    """BadRow if the template shows the model none of the tools: they would be passed over without a word."""
    if prompt.tools and prompt_text(prompt, tokenizer) == prompt_text(replace(prompt, tools=None), tokenizer):
        raise BadRow(
            "the trained template leaves tools out, so the model would see none: leave them out of the request"
        )


def prompt_ids(prompt: Prompt, tokenizer: Any) -> list[int]:
    """Token ids as of a row of data that begins so. The text already holds what the template writes, the begin token
    included."""
    text = prompt_text(prompt, tokenizer)
    before = len(text) - len(prompt.text) if prompt.cuts else 0
    borders = [0, *(before + cut for cut in prompt.cuts), len(text)]
    parts = [text[start:end] for start, end in itertools.pairwise(borders)]
    return [int(token) for part in parts for token in tokenizer(part, add_special_tokens=False)["input_ids"]]


def one_number_type(model: Any) -> Any:
    """Embeddings that were trained whole are kept in float32 beside a model in 16 bits; the products need one type, as
    autocast gives them while training."""
    import torch

    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    whole = any(p.dtype == torch.float32 for end in ends if end is not None for p in end.parameters())
    half = next((p.dtype for p in model.parameters() if p.dtype in (torch.bfloat16, torch.float16)), None)
    return torch.autocast(model.device.type, half) if whole and half else nullcontext()


def answer(prompt: Prompt, model: Any, tokenizer: Any, config: Any) -> Answer:
    """One answer; `config` is transformers' GenerationConfig with the stop tokens in eos_token_id."""
    import torch

    ids = torch.tensor([prompt_ids(prompt, tokenizer)], device=model.device)
    mask = torch.ones_like(ids)
    reads = {"tokenizer": tokenizer} if config.stop_strings else {}
    with torch.no_grad(), one_number_type(model):
        output = model.generate(input_ids=ids, attention_mask=mask, generation_config=config, **reads)
    return read(output[0, ids.shape[1] :].tolist(), tokenizer, config)


def continuations(
    given: Sequence[Sequence[int]], model: Any, config: Any, batch_size: int, tokenizer: Any = None
) -> list[list[int]]:
    """What the model writes after each list of token ids, its stop token included if it came to one. Several at a
    time, padded on the left; the longest come first, so that memory that does not suffice shows at once. The tokenizer
    finds stop texts, where the config has some."""
    import torch

    found: list[list[int]] = [[] for _ in given]
    order = sorted(range(len(given)), key=lambda number: -len(given[number]))
    stops = {*config.eos_token_id, *([config.pad_token_id] if config.stop_strings else [])}
    reads = {"tokenizer": tokenizer} if config.stop_strings else {}
    for first in range(0, len(order), batch_size):
        batch = order[first : first + batch_size]
        width = len(given[batch[0]])
        rows = [[config.pad_token_id] * (width - len(given[number])) + list(given[number]) for number in batch]
        mask = [[0] * (width - len(given[number])) + [1] * len(given[number]) for number in batch]
        ids_BT = torch.tensor(rows, device=model.device)
        mask_BT = torch.tensor(mask, device=model.device)
        with torch.no_grad(), one_number_type(model):
            output_BT = model.generate(input_ids=ids_BT, attention_mask=mask_BT, generation_config=config, **reads)
        for number, new in zip(batch, output_BT[:, width:].tolist(), strict=True):
            end = next((place + 1 for place, token in enumerate(new) if token in stops), len(new))
            beyond = config.stop_strings and new[end - 1] not in config.eos_token_id and new[end - 1] in stops
            found[number] = new[: end - bool(beyond)]
    return found


def answers_to(prompts: Sequence[Prompt], model: Any, tokenizer: Any, config: Any, batch_size: int) -> list[Answer]:
    """The answers to several prompts, as `answer` gives each."""
    texts = [prompt_text(prompt, tokenizer) for prompt in prompts]
    given = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    return [read(new, tokenizer, config) for new in continuations(given, model, config, batch_size, tokenizer)]


def read(new: Sequence[int], tokenizer: Any, config: Any) -> Answer:
    """Generated tokens as an answer, up to the first stop text."""
    stopped = bool(new) and new[-1] in config.eos_token_id
    text = tokenizer.decode(new, skip_special_tokens=True)
    ends = [place for stop in config.stop_strings or () if (place := text.find(stop)) >= 0]
    return Answer(text[: min(ends)].strip() if ends else text.strip(), stopped or bool(ends), len(new))
