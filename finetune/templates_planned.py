"""Which chat template is planned for the tokenizer and for each entry of the data. Knows names and texts as the recipe
writes them; renders nothing."""

from finetune.plan import Call
from finetune.recipe.data import DataSection, DatasetEntry

MODULE = "finetune.rendering.templates"
WORDED = frozenset({"chatml", "llama3"})
"""Wordings that a type of rows brings (chatml.intel), which are templates too."""
Named = dict[str, str | None]
"""`name` and `jinja`, as rendering.templates takes them."""


def saved(section: DataSection) -> Named:
    """The template that the tokenizer is saved with: the recipe's, or where it names none, that of its first entry, or
    the one in which the rows' type words them."""
    first = section.datasets[0]
    if "chat_template" not in section.model_fields_set and first.chat_template is not None:
        return _of(first)
    worded = {str(entry.type).split(".")[0] for entry in section.datasets} & WORDED
    if "chat_template" not in section.model_fields_set and len(worded) == 1:
        return {"name": worded.pop(), "jinja": None}
    return {"name": section.chat_template, "jinja": section.chat_template_jinja}


def of_entries(section: DataSection) -> list[Named | None]:
    """The template of each entry, training before validation; None where it is the saved one."""
    kept, recipes = saved(section), {"name": section.chat_template, "jinja": section.chat_template_jinja}
    entries = [*section.datasets, *(section.test_datasets or ())]
    found = [_of(entry) if entry.chat_template is not None else recipes for entry in entries]
    return [None if named == kept else named for named in found]


def _of(entry: DatasetEntry) -> Named:
    return {"name": entry.chat_template, "jinja": entry.chat_template_jinja}


def several(section: DataSection) -> tuple[str, list[str]] | None:
    """(the name of the template that is saved, the others' names); None where there is one alone."""
    others: dict[str, None] = {str(named["name"]): None for named in of_entries(section) if named is not None}
    return (str(saved(section)["name"]), list(others)) if others else None


def template_calls(section: DataSection) -> list[Call]:
    """What gives the tokenizer its template, after what looks up those that entries have for themselves."""
    given = {"defaults": section.chat_template_kwargs or {}, "system": section.default_system_message}
    entries = of_entries(section)
    own = {"entries": entries, **given}
    calls = [Call(f"{MODULE}.templates_of_entries", own, runtime=("tokenizer",))] if any(entries) else []
    return [*calls, Call(f"{MODULE}.set_template", {**saved(section), **given}, runtime=("tokenizer",))]
