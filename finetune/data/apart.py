"""Whether a model keeps the documents of a packed row apart: tried on the model itself, not looked up by its name.
Knows no data."""

from typing import Any

from finetune.errors import TrainingError

DOCUMENT = 12
SHARE = 0.2
"""Of what a document before another one does to it where they are one text: rounding stays far below it."""
ADVICE = "Set sample_packing: false (and batch_flattening: false); group_by_length: true saves padding too"


def refuse_mixed_documents(model: Any) -> None:
    """TrainingError if what stands before a document in its row changes the model's answers in it: families whose
    layers carry a state along, or ignore positions, do so."""
    import torch

    size = model.get_input_embeddings().num_embeddings
    first = torch.arange(DOCUMENT) * 7 % size
    other, last = (first + size // 2) % size, (torch.arange(DOCUMENT) * 11 + 3) % size
    one_text = torch.arange(2 * DOCUMENT)
    apart = torch.arange(DOCUMENT).repeat(2)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            mixed, whole = (
                _difference(model, torch.cat([first, last]), torch.cat([other, last]), positions)
                for positions in (apart, one_text)
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


def _difference(model: Any, one: Any, other: Any, positions: Any) -> float:
    """How far the answers in the second document part, where only the first differs."""
    device = model.get_input_embeddings().weight.device
    logits = [
        model(input_ids=ids[None].to(device), position_ids=positions[None].to(device), use_cache=False).logits[
            0, DOCUMENT:
        ]
        for ids in (one, other)
    ]
    return float((logits[0].float() - logits[1].float()).abs().max())
