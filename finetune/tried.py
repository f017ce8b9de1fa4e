"""What is tried on the loaded model before the first step: whether it can be trained on rows as they are laid out,
whether it can be told the tokenizer's special tokens, and whether the loss of its routers can be computed. Trains
nothing."""

from collections.abc import Callable
from typing import Any

from finetune.backends.loaded import Loaded
from finetune.data.apart import refuse_foresight, refuse_mixed_documents
from finetune.errors import TrainingError
from finetune.kernels.zero import computing
from finetune.plan import Plan
from finetune.promises import packs_rows


def try_model(plan: Plan, trainer: Any, kind: str) -> None:
    """TrainingError if the model cannot be trained on rows as they are laid out. (Unsloth does that by itself, and
    gives no logits; a trainer of ours has tried it.)"""
    if plan.backend != "transformers" or hasattr(trainer, "flat") or kind != "rows":
        return
    with computing(trainer.model):
        refuse_foresight(trainer.model)
        if packs_rows(trainer.args):
            refuse_mixed_documents(trainer.model)


def look_at_model(plan: Plan, loaded: Loaded, args: Any, say: Callable[[str], None]) -> None:
    """Before there is a trainer. TrainingError if the model cannot be told the tokenizer's special tokens."""
    _refuse_tokens(loaded)
    quiet_routers(plan, loaded.model, args, say)


def _refuse_tokens(loaded: Loaded) -> None:
    """Trainers tell the model's configuration what the tokenizer has, and some must have each."""
    from huggingface_hub.errors import StrictDataclassError

    config = loaded.model.config
    for name in ("bos_token_id", "eos_token_id"):
        before, wanted = getattr(config, name, None), getattr(loaded.tokenizer, name)
        if before is None or wanted is not None:
            continue
        try:
            setattr(config, name, wanted)
        except StrictDataclassError:
            key = name.removesuffix("_id")
            raise TrainingError(
                f"the tokenizer has no {key}, and the configuration of this model ({type(config).__name__}) must have "
                f"one: name a token of the vocabulary under special_tokens.{key}"
            ) from None
        setattr(config, name, before)


def quiet_routers(plan: Plan, model: Any, args: Any, say: Callable[[str], None]) -> None:
    """Leave the loss of a mixture's routers out where the installed transformers cannot compute it, and say so."""
    config = model.config.get_text_config()
    planned = getattr(args, "router_aux_loss_coef", 0.0)
    coefficient = getattr(config, "router_aux_loss_coef", 0.0) if planned is None else planned
    if plan.backend != "transformers" or not coefficient or not hasattr(config, "output_router_logits"):
        return
    why = _routers_fault(model)
    if not why:
        return
    args.router_aux_loss_coef = 0.0
    say(
        f"the routers of the experts learn from the text alone: their own loss (router_aux_loss_coef {coefficient}) "
        f"cannot be computed by the installed transformers ({why})"
    )


def _routers_fault(model: Any) -> str:
    import torch

    ids = torch.arange(4, device=model.get_input_embeddings().weight.device)[None]
    training = model.training
    model.eval()
    try:
        with computing(model):  # as it learns: layers of ours compute otherwise then
            found = model(input_ids=ids, use_cache=False, output_router_logits=True)
    except (IndexError, TypeError, ValueError, AttributeError, KeyError, RuntimeError) as error:
        if "out of memory" in str(error):
            raise
        return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0][:100]}"
    finally:
        model.train(training)
    return "" if isinstance(found.get("aux_loss"), torch.Tensor) else "it gives none"
