"""What becomes of a model whose weights are quantized, by the recipe or in its checkpoint. Knows no recipe."""

from typing import Any


def prepare_for_adapter(*, model: Any) -> Any:
    """A quantized model with its other weights in float32, ready to have an adapter trained; others as they are.

    Checkpointing is the trainer's to switch on, once; prepared here it would be switched on twice."""
    if not getattr(model, "is_quantized", False):
        return model
    from peft import prepare_model_for_kbit_training

    return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
