"""recipes/README.md: a table of the shipped recipes. Reads them and their headers; decides how the page looks."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from finetune.gallery import Header, header_of
from finetune.recipe.data import DatasetEntry
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe

BEGINNING = """# Recipes

Each file stands alone: copy one, change `base_model`, `datasets` and `output_dir`, and check it.

```text
finetune recipes                                     list them, also without a clone
finetune validate my.yaml                            every fault, with file:line:column
finetune plan my.yaml --gpu "RTX 4090"               every call, and the memory it takes
finetune prove my.yaml                               the whole way on a tiny model, in a minute, without a GPU
finetune my.yaml                                     train
```

**Memory** is what `finetune plan RECIPE --gpu NAME` estimates with rows as long as `sequence_len` ([how exact that
is](../docs/memory.md)); a larger GPU will do as well. **Time** is estimated from the operations, for the rows that the
recipe's header names, and does not count loading and validation. Both are estimates: what was measured is in
[performance.md](../docs/performance.md). Names of data link to where its columns and its licence are told.

This page is written by `make docs`.
"""


@dataclass(frozen=True)
class _Row:
    name: str
    recipe: Recipe
    header: Header


def gallery_page(folder: Path) -> str:
    rows = [_row(path) for path in sorted(folder.glob("*.yaml"))]
    parts = [BEGINNING]
    for title, belongs in _GROUPS:
        own = [row for row in rows if belongs(row)]
        rows = [row for row in rows if row not in own]
        parts.append("\n".join(_table(title, own)))
    assert not rows, f"no group for {[row.name for row in rows]}"
    return "\n".join(parts)


def _row(path: Path) -> _Row:
    return _Row(path.name, load_recipe(path).recipe, header_of(path.read_text("utf-8"), path.name))


def _offline(row: _Row) -> bool:
    return row.name.startswith("quickstart")


def _several(row: _Row) -> bool:
    return " x " in row.header.gpu


def _pretrains(row: _Row) -> bool:
    return _form(row.recipe.datasets[0]) == "completion"


def _of_the_guides(row: _Row) -> bool:
    return row.header.source.startswith(('"', "a note", "the fine-tuning and datasets guides"))


_GROUPS = (
    ("Offline, on two CPU cores", _offline),
    ("On several GPUs", _several),
    ("Preferences, judgements and rewards", lambda row: bool(row.recipe.rl or row.recipe.reward_model)),
    ("Plain text", _pretrains),
    ("Runs that published guides describe", _of_the_guides),
    ("Conversations, instructions and tasks", lambda row: True),
)


def _table(title: str, rows: list[_Row]) -> Iterator[str]:
    assert rows, title
    yield f"## {title}\n"
    yield "| recipe | model | method | trained | rows | data | GPU | time |\n|---|---|---|---|---|---|---|---|"
    for row in rows:
        recipe, header = row.recipe, row.header
        cells = (
            f"[{row.name.removesuffix('.yaml')}]({row.name})",
            recipe.base_model.rsplit("/", 1)[-1] if "quickstart" not in recipe.base_model else "the shipped one",
            _method(recipe),
            _trained(recipe),
            ", ".join(dict.fromkeys(_form(entry) for entry in recipe.datasets)),
            ", ".join(dict.fromkeys(_linked(entry.path) for entry in recipe.datasets)),
            header.gpu.replace(", estimated", "").replace(" estimated", ""),
            "-" if header.time.startswith("not") else header.time.split(" estimated")[0],
        )
        yield f"| {' | '.join(cells)} |"
    yield ""


def _method(recipe: Recipe) -> str:
    if recipe.reward_model:
        return "reward model"
    if recipe.rl:
        return {"simpo": "SimPO"}.get(recipe.rl, recipe.rl.upper())
    return "pretraining" if _form(recipe.datasets[0]) == "completion" else "SFT"


def _trained(recipe: Recipe) -> str:
    if recipe.adapter is None:
        return "all weights"
    kind = "DoRA" if recipe.peft_use_dora else "LoRA"
    bits = " on 4 bits" if recipe.load_in_4bit is True else " on 8 bits" if recipe.load_in_8bit else ""
    return "QLoRA" if kind == "LoRA" and recipe.load_in_4bit is True else f"{kind}{bits}"


def _form(entry: DatasetEntry) -> str:
    if entry.type is None:
        return "detected"
    if not isinstance(entry.type, str):
        return "columns of its own"
    if entry.type == "chat_template":
        properties = entry.message_property_mappings
        return "ShareGPT" if properties is not None and properties.role == "from" else "messages"
    return entry.type


def _linked(path: str) -> str:
    # A file beside the recipe is named by its whole path.
    return Path(path).name if Path(path).is_absolute() else f"[{path}](https://huggingface.co/datasets/{path})"
