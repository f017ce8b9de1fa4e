"""Which exports are planned for the finished run, and when their calls are made: a look before training, the exports
after it. Knows no form of export."""

from typing import Any

from finetune.errors import FinetuneError
from finetune.plan import Call, Plan, perform
from finetune.recipe.recipe import Recipe


def export_calls(recipe: Recipe) -> tuple[Call, ...]:
    """What looks before training whether the run can be exported, what exports it afterwards, and what says where it
    belongs on the hub."""
    where = {"run": recipe.output_dir, "repo": recipe.hub_model_id}
    named = (Call("finetune.exporting.naming.say_where", where, runtime=("screen",)),) if recipe.hub_model_id else ()
    if recipe.export_to is None:
        return named
    packs = {"gguf", "ollama"} & set(recipe.export_to)
    wish = {"to": recipe.export_to, "quantization": recipe.export_quantization if packs else None}
    unpacked = recipe.model_quantization_config is not None
    base = {"name": recipe.base_model, "revision": recipe.revision_of_model or "main", "unpacked": unpacked}
    return (
        Call("finetune.exporting.planned.check", {**wish, "base": base}, runtime=("tokenizer", "style")),
        Call("finetune.exporting.planned.export", {**wish, "run": recipe.output_dir}, runtime=("screen",)),
        *named,
    )


def look_at_exports(plan: Plan, tokenizer: Any, style: str) -> None:
    """MachineError or ModelError if the finished run could not be exported as the recipe asks."""
    call = plan.one("save", ".exporting.planned.check")
    if call is not None:
        perform(call, tokenizer=tokenizer, style=style)


def export_finished(plan: Plan, screen: Any) -> None:
    """What the recipe asks for beside the run, which is finished whatever becomes of it; and how it gets to its place
    on the hub."""
    export, where = plan.one("save", ".exporting.planned.export"), plan.one("save", ".naming.say_where")
    try:
        if export is not None:
            perform(export, screen=screen)
    except FinetuneError as error:
        error.add_note("the run itself is finished and saved; `finetune export` tries again")
        raise
    if where is not None:
        perform(where, screen=screen)
