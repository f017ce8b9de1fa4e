"""Whether a model keeps the documents of a packed row apart: tried on the model itself, not looked up by its name.
Knows no data."""

from collections.abc import Callable
from typing import Any

from finetune.errors import TrainingError
from finetune.kernels.zero import rows_of

DOCUMENT = 12
SHARE = 0.2
"""Of what a document before another one does to it where they are one text: rounding stays far below it."""
ADVICE = "Set sample_packing: false (and batch_flattening: false); group_by_length: true saves padding too"


Laid = Callable[[Any, list[int]], dict[str, Any]]
"""Tokens (T,) and how long each document of them is -> what the model is given of the row."""


def by_positions(ids: Any, lengths: list[int]) -> dict[str, Any]:
    """Documents told apart by positions that begin again."""
    import torch

    positions = torch.cat([torch.arange(length) for length in lengths]).to(ids.device)
    return {"input_ids": ids[None], "position_ids": positions[None], "use_cache": False}


def refuse_mixed_documents(model: Any, laid: Laid = by_positions) -> None:
    """TrainingError if what stands before a document in its row changes the model's answers in it: families whose
    layers carry a state along, or ignore positions, do so."""
    import torch

    size = rows_of(model.get_input_embeddings().weight)
    first = torch.arange(DOCUMENT) * 7 % size
    other, last = (first + size // 2) % size, (torch.arange(DOCUMENT) * 11 + 3) % size
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            mixed, whole = (
                _difference(model, laid, (torch.cat([first, last]), torch.cat([other, last])), lengths)
                for lengths in ([DOCUMENT, DOCUMENT], [2 * DOCUMENT])
            )
    except TypeError as error:
        if "position_ids" not in str(error):
            raise
        raise TrainingError(
            f"this model takes no positions, so documents in one row would be one text. {ADVICE}"
        ) from None
    finally:
        model.train(training)
    if mixed > SHARE * whole:
        raise TrainingError(
            f"this model ({type(model).__name__}) lets documents in one row see each other ({mixed / whole:.0%} of "
            f"what one text would). {ADVICE}"
        )


def _difference(model: Any, laid: Laid, rows: tuple[Any, Any], lengths: list[int]) -> float:
    """How far the answers in the second document part, where only the first differs."""
    device = model.get_input_embeddings().weight.device
    logits = [model(**laid(ids.to(device), lengths)).logits[0, DOCUMENT:] for ids in rows]
    return float((logits[0].float() - logits[1].float()).abs().max())
