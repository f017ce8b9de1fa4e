"""Whether answers end: how likely the end token is after an answer, before and after training, and whether generation
stops at it with the settings that were saved. Knows no recipe."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.backends.loaded import make_room
from finetune.exporting.finished import Finished
from finetune.exporting.merging import load_folder, load_parts, load_tokenizer
from finetune.stages import without_adapter

ROWS = 6
AT = 3
"""The new token at which the end is forced."""


@dataclass(frozen=True)
class Endings:
    """`before`, `after`: mean probability of the end token after an answer; `stopped`: of the `asked` answers, those
    that ended where the end token was forced."""

    before: float | None
    after: float | None
    stopped: int
    asked: int


def endings(
    run: Finished, merged: Path | None, documents: Sequence[tuple[list[int], list[int]]], stop_ids: Sequence[int]
) -> Endings:
    """`merged`: what was made of the run, which answers as any program would have it; without one, the run's own."""
    parts = load_parts(run)
    tokenizer = load_tokenizer(run.weights)
    model = load_folder(merged, False) if merged is not None else parts.model
    config = _saved_config(merged or run.weights)
    places = [place for one in documents if (place := _end(one, stop_ids)) is not None][:ROWS]
    after = _mean([_probability(parts.model, ids, at) for ids, at in places])
    before = None
    if run.plan.has_adapter:
        with without_adapter(parts.model):
            before = _mean([_probability(parts.model, ids, at) for ids, at in places])
    else:
        base = load_folder(_base(run), False)
        # Tokens that the recipe adds are in the rows.
        make_room(model=base, tokenizer=tokenizer, pad_to_multiple_of=None, mean_resizing=False)
        before = _mean([_probability(base, ids, at) for ids, at in places])
    asked = places or [([*ids, stop_ids[0]], len(ids)) for ids, _ in documents[:ROWS]]
    stopped = sum(_stops(model, config, (ids[:at], ids[at]), tokenizer) for ids, at in asked)
    return Endings(before, after, stopped, len(asked))


def _base(run: Finished) -> Path:
    call = next(call for call in run.plan.stage("load") if "dtype" in call.arguments)
    return Path(call.arguments["pretrained_model_name_or_path"])


def _end(document: tuple[list[int], list[int]], stop_ids: Sequence[int]) -> tuple[list[int], int] | None:
    """(token ids, place of the last end token that is learned)."""
    ids, labels = document
    for place in range(len(ids) - 1, 0, -1):
        if labels[place] in stop_ids:
            return ids, place
    return None


def _probability(model: Any, ids: Sequence[int], at: int) -> float:
    import torch

    with torch.no_grad():
        logits = model(input_ids=torch.tensor([ids[:at]], device=model.device), use_cache=False).logits[0, -1]
    return float(torch.softmax(logits.float(), -1)[ids[at]])


def _saved_config(folder: Path) -> Any:
    from transformers import GenerationConfig

    config = GenerationConfig.from_pretrained(str(folder))
    config.max_new_tokens, config.do_sample = 2 * AT, False
    return config


def _stops(model: Any, config: Any, prompt: tuple[Sequence[int], int], tokenizer: Any) -> bool:
    """Whether an answer whose third token is the end token has three tokens."""
    import torch
    from transformers import LogitsProcessorList

    ids, end = prompt
    given = torch.tensor([ids], device=model.device)

    def force(seen: Any, scores: Any) -> Any:
        new = seen.shape[1] - len(ids) + 1
        scores[:, list(config.eos_token_id or [])] = -torch.inf
        scores[:, end] = torch.inf if new == AT else -torch.inf
        return scores

    reads = {"tokenizer": tokenizer} if config.stop_strings else {}
    with torch.no_grad():
        output = model.generate(
            input_ids=given,
            attention_mask=torch.ones_like(given),
            generation_config=config,
            logits_processor=LogitsProcessorList([force]),
            **reads,
        )
    return int(output.shape[1]) - len(ids) == AT


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
