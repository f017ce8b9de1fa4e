"""The part of docs/data.md that lists the forms of rows. Reads the tables; knows no recipe and no row."""

from collections.abc import Iterator
from typing import Any

from finetune.formats import FORMATS
from finetune.recipe.rows import SAME

BEGIN, END = "<!-- forms -->\n", "<!-- end of forms -->\n"


def with_forms(page: str) -> str:
    """The page with its table of forms made anew."""
    before, found, rest = page.partition(BEGIN)
    _, closed, after = rest.partition(END)
    assert found and closed, "docs/data.md has lost the marks around its table"
    return before + BEGIN + "\n" + "".join(_lines()) + "\n" + END + after


def _lines() -> Iterator[str]:
    yield "| `type` | a row has | detected | also written |\n|---|---|---|---|\n"
    for form, module in FORMATS.items():
        if form != "custom":
            others = ", ".join(f"`{other}`" for other, same in SAME.items() if same == form)
            yield f"| `{form}` | {module.COLUMNS} | {'yes' if _detected(module) else 'name it'} | {others} |\n"
    yield f"| a mapping | {FORMATS['custom'].COLUMNS} | name it | |\n"


def _detected(module: Any) -> bool:
    return bool(getattr(module, "needs", True))
