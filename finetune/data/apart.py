"""Whether a model keeps the documents of a packed row apart, and reads each as if it were alone; whether it sees what
it is to predict. Tried on the model itself, not looked up by its name. Knows no data."""

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

from finetune.errors import TrainingError
from finetune.kernels.zero import rows_of

DOCUMENT = 12
SWAPS = 3
"""Documents that take turns where it has to be told from noise what one does to another."""
SHARE = 0.2
"""Of what a document before another one does to it where they are one text: rounding stays below it."""
NOISE = 4.0
"""How much more than what a later document does to an earlier one, which cannot be but noise."""
EXACT = {4: 1e-4, 2: 2e-3}
"""Bytes of a number -> share that is nothing. Most models compute a document to the last bit alike, whatever is beside
it."""
ROUNDING = {4: 1e-3, 2: 0.05}
"""Bytes of a number -> how far other sizes of the same products may be off, against the greatest logit."""
FORESEEN = {4: 1e-3, 2: 0.05}
"""Bytes of a number -> how much of what an earlier document does to a later one the later may do to the earlier: no
more than rounding among other neighbours does."""
PLACELESS = {
    "full_attention", "sliding_attention", "attention", "linear_attention", "conv", "mamba", "recurrent", "hybrid",
    "hybrid_sliding", "moe", "mlp", "dense", "sparse",
}  # fmt: skip
"""Kinds of layers in which it makes no difference where in its row a document begins. Others cut the row into blocks
that are longer than anything that is tried here."""
ADVICE = "Set sample_packing: false (and batch_flattening: false); group_by_length: true saves padding too"
NEEDED = (TypeError, IndexError, KeyError, ValueError, AttributeError, RuntimeError)
"""What models raise that cannot be given such rows."""


Laid = Callable[[Any, list[int]], dict[str, Any]]
"""Tokens (T,) and how long each document of them is -> what the model is given of the row."""


def by_positions(ids: Any, lengths: list[int]) -> dict[str, Any]:
    """Documents told apart by positions that begin again."""
    import torch

    positions = torch.cat([torch.arange(length) for length in lengths]).to(ids.device)
    return {"input_ids": ids[None], "position_ids": positions[None], "use_cache": False}


def refuse_mixed_documents(model: Any, laid: Laid = by_positions) -> None:
    """TrainingError if a document's answers in a row are others than alone: families whose layers carry a state along,
    or ignore positions, or cut a row into blocks, give others."""
    _refuse_blocks(model)
    name = _name(model)
    with _trying(model):
        try:
            leak, apart, whole = _tried(model, laid)
        except NEEDED as error:
            if "out of memory" in str(error):
                raise
            raise _beyond(model, "takes no documents laid end to end", error, f". {ADVICE}") from error
    if leak:
        raise TrainingError(
            f"this model ({name}) lets documents in one row see each other ({_share(leak, whole)}). {ADVICE}"
        )
    if apart:
        raise TrainingError(
            f"this model ({name}) reads a document that stands behind another one otherwise than alone "
            f"({_share(apart, whole)}). {ADVICE}"
        )


def _beyond(model: Any, what: str, error: Exception, advice: str = "") -> TrainingError:
    """What the model's own code raises, in words."""
    said = (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
    return TrainingError(f"this model ({_name(model)}) {what} ({type(error).__name__}: {said}){advice}")


def _share(difference: float, whole: float) -> str:
    return f"{difference / max(whole, 1e-12):.2%} of what one text would"


def refuse_foresight(model: Any) -> None:
    """TrainingError if a token changes the answers before it: the model would learn to copy what it is to predict."""
    import torch

    documents = _documents(model)
    one, other, last = documents(0), documents(1), documents(-1)
    ahead, behind = slice(DOCUMENT), slice(DOCUMENT, None)
    with _trying(model):
        try:
            seen = _alone(model, torch.cat([one, last]))
        except NEEDED as error:
            if "out of memory" in str(error):
                raise
            raise _beyond(model, "computes no row of tokens", error) from error
        back = _most(seen, _alone(model, torch.cat([one, other])), ahead)
        forth = _most(seen, _alone(model, torch.cat([other, last])), behind)
    if back > FORESEEN[_bytes(model)] * forth:
        raise TrainingError(
            f"this model ({_name(model)}) sees the tokens that it is to predict: it would learn to copy them, and "
            "nothing else. Take a model that reads from left to right: one of BERT's kind does with is_decoder: true "
            "in its config.json; where transformers' attention is at fault, attn_implementation: eager helps"
        )


def _refuse_blocks(model: Any) -> None:
    config = model.config.get_text_config()
    found = [kind for kind in getattr(config, "layer_types", None) or () if kind not in PLACELESS]
    if found:
        raise TrainingError(
            f"this model ({_name(model)}) has layers of the kind {found[0]}, which cut a row at places of their own, "
            f"not where its documents end. {ADVICE}"
        )


def _tried(model: Any, laid: Laid) -> tuple[float, float, float]:
    """(what the document before another one does to it, or 0.0 where that is nothing; how far the second is off what
    it is alone, or 0.0; what the first does to the second where they are one text)."""
    import torch

    documents = _documents(model)
    one, other, last = documents(0), documents(1), documents(-1)

    def logits(first: Any, second: Any, lengths: tuple[int, ...] = (DOCUMENT, DOCUMENT)) -> Any:
        return model(**laid(torch.cat([first, second]), list(lengths))).logits[0].float()

    row = logits(one, last)
    whole = _most(logits(one, last, (2 * DOCUMENT,)), logits(other, last, (2 * DOCUMENT,)))
    leak = _most(row, logits(other, last))
    size = _bytes(model)
    if leak > 0:
        # Experts and quantization compute each token a little otherwise beside others: that comes and goes, and goes
        # backwards too.
        leak = min(leak, *(_most(row, logits(documents(swap), last)) for swap in range(2, SWAPS + 1)))
        back = max(_most(row, logits(one, documents(-swap)), slice(DOCUMENT)) for swap in range(2, SWAPS + 1))
        leak = 0.0 if leak <= min(max(EXACT[size] * whole, NOISE * back), SHARE * whole) else leak
    alone = _alone(model, last)
    apart = float((row[DOCUMENT:] - alone).abs().max())
    bound = max((SHARE if size == 2 else SHARE**2) * whole, ROUNDING[size] * float(alone.abs().max()))
    return leak, 0.0 if apart <= bound else apart, whole


def _most(one: Any, other: Any, part: slice = slice(DOCUMENT, None)) -> float:
    return float((one[part] - other[part]).abs().max())


def _alone(model: Any, ids: Any) -> Any:
    """float32 (T, vocabulary): its answers in a row of its own, as it is given rows of no trainer of ours."""
    import torch

    return model(input_ids=ids[None], attention_mask=torch.ones_like(ids)[None], use_cache=False).logits[0].float()


def _documents(model: Any) -> Callable[[int], Any]:
    """Number -> a document of tokens of the model."""
    import torch

    weight = model.get_input_embeddings().weight
    size = rows_of(weight)

    def document(number: int) -> Any:
        # The first tokens of many vocabularies are special.
        start, step = (5 + number * size // (SWAPS + 2), 7) if number >= 0 else (8 - number * size // 9, 11)
        return ((torch.arange(DOCUMENT) * step + start) % size).to(weight.device)

    return document


def _bytes(model: Any) -> int:
    """Of a number of the products: 2 or 4."""
    import torch

    device = model.get_input_embeddings().weight.device.type
    half = {torch.bfloat16, torch.float16}
    if torch.is_autocast_enabled(device) or getattr(model, "is_quantized", False):
        return 2
    return 2 if any(weight.dtype in half for weight in model.parameters()) else 4


def _name(model: Any) -> str:
    return type(model.get_base_model() if hasattr(model, "get_base_model") else model).__name__


@contextmanager
def _trying(model: Any) -> Any:
    """Without dropout and without gradients, and left as it was found."""
    import torch

    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)
