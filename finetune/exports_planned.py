"""Which exports are planned for the finished run, and what looks at them before training. Makes none."""

from finetune.plan import Call
from finetune.recipe.recipe import Recipe


def export_calls(recipe: Recipe) -> tuple[Call, ...]:
    """What looks before training whether the run can be exported, and what exports it afterwards."""
    if recipe.export_to is None:
        return ()
    packs = {"gguf", "ollama"} & set(recipe.export_to)
    wish = {"to": recipe.export_to, "quantization": recipe.export_quantization if packs else None}
    unpacked = recipe.model_quantization_config is not None
    base = {"name": recipe.base_model, "revision": recipe.revision_of_model or "main", "unpacked": unpacked}
    return (
        Call("finetune.exporting.planned.check", {**wish, "base": base}, runtime=("tokenizer", "style")),
        Call("finetune.exporting.planned.export", {**wish, "run": recipe.output_dir}, runtime=("screen",)),
    )
