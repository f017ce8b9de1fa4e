"""The comment at the beginning of a shipped recipe: what it says, and its figures of memory and time made anew from the
plan. Knows recipes and what is foreseen of them; runs nothing."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.derived import effective_batch
from finetune.machine import Machine
from finetune.memory.choosing import settled, step_seconds
from finetune.memory.estimate import GIB
from finetune.memory.fitting import Data, Verdict, verdict
from finetune.memory.foreseeing import Foresight, foresee
from finetune.memory.gpus import machine_with
from finetune.recipe.load import load_recipe
from finetune.recipe.recipe import Recipe
from finetune.resolve import resolve

LABELS = ("source", "model", "data", "GPU", "time", "command")
"""What a header says of a recipe below the sentences on what it is, each on a line (or more) of its own."""
_LABEL = re.compile(rf"# ({'|'.join(LABELS)}): +(\S.*)")
_GPU = re.compile(r"(?:(\d+) x )?([A-Z][A-Za-z0-9 ]*); (\?|[\d.]+) GiB(?: each,)? estimated")
_ROWS = re.compile(r"for (?:(\d+) x )?([\d,]+) rows of ([\d,]+) tokens")
TFLOPS = {
    "H100": 798,
    "A100": 312,
    "L40S": 362,
    "A6000": 155,
    "RTX 4090": 165,
    "RTX 4080": 97,
    "RTX 3060": 25,
    "RTX 2080 Ti": 54,
}
"""Products in 16 bits, sums in float32, by the makers' tables (of an H100: measured), in 10^12 operations a second."""
_SHARE = 0.45
"""What a training gets of them: 34 to 47 % were measured on an H100 (docs/performance.md)."""
_SHARED_OUT, _TOGETHER = 0.79, 0.9
"""What of so many GPUs' speed is left: measured on two with FSDP2 and with DDP (docs/many_gpus.md)."""
_REFERENCE = 1.5
"""How much longer a step takes that asks the reference too."""


@dataclass(frozen=True)
class Header:
    """`what`: the sentences before the labels. `gpu`, `time`, ...: as written, joined to one line."""

    what: str
    source: str
    model: str
    data: str
    gpu: str
    time: str
    command: str


@dataclass(frozen=True)
class Figures:
    """What the plan says of a recipe on the GPUs that its header names. `hours`: None where it names no rows."""

    needed_gib: float
    fits: bool
    hours: float | None


def header_of(text: str, name: str) -> Header:
    """The header of a recipe's text. ValueError where a label, or what the recipe is, is missing."""
    found: dict[str, list[str]] = {"what": []}
    now = "what"
    for line in text.splitlines()[1:]:
        if not line.startswith("#"):
            break
        labelled = _LABEL.fullmatch(line)
        if labelled:
            now = labelled[1]
            found[now] = [labelled[2]]
        elif line.strip("# "):
            found[now].append(line.strip("# "))
    missing = [label for label in ("what", *LABELS) if not found.get(label)]
    if missing:
        raise ValueError(f"{name}: its header lacks {', '.join(missing)}")
    return Header(**{label.lower(): " ".join(lines) for label, lines in found.items()})


def machine_of(header: Header) -> Machine | None:
    """The GPUs that a header names; None where it needs none."""
    found = _GPU.fullmatch(header.gpu)
    if found is None:
        return None
    one, count = machine_with(found[2]), int(found[1] or 1)
    return replace(one, gpus=one.gpus * count, processes=count)


def figures_of(path: Path, header: Header) -> Figures | None:
    """None where the header names no GPU. ValueError where nothing is known of the model."""
    machine = machine_of(header)
    if machine is None:
        return None
    recipe = settled(load_recipe(path).recipe, machine, resolve).recipe
    known = foresee(resolve(recipe, machine), machine.processes)
    if isinstance(known, str):
        raise ValueError(f"{path.name}: {known}")
    judged = verdict(known, machine, Data())
    assert isinstance(judged, Verdict)
    return Figures(judged.estimate.needed / GIB, judged.fits, _hours(recipe, known, machine, header))


def with_figures(path: Path) -> str:
    """The text of a recipe, its header's figures made anew."""
    text = path.read_text("utf-8")
    header = header_of(text, path.name)
    figures = figures_of(path, header)
    if figures is None:
        return text
    before, mark, rest = text.partition("# GPU: ")
    line, _, rest = rest.partition("\n")
    line = re.sub(r"(\?|[\d.]+)(?= GiB)", f"{figures.needed_gib:.1f}", line)
    text = f"{before}{mark}{line}\n{rest}"
    if figures.hours is None:
        return text
    return re.sub(r"(# time:\s+).*(?= estimated, for )", rf"\g<1>{_spoken(figures.hours)}", text, count=1)


def _hours(recipe: Recipe, known: Foresight, machine: Machine, header: Header) -> float | None:
    """Of training alone, by the rows and tokens that the header names."""
    found = _ROWS.search(header.time)
    if found is None:
        return None
    passes, rows, tokens = (int((text or "1").replace(",", "")) for text in found.groups())
    whole = recipe.sample_packing or recipe.text_chunks == "joined"
    mean = recipe.sequence_len if whole else tokens
    gpu = machine.gpus[0].name
    steps = passes * rows * tokens / (effective_batch(recipe, machine.processes) * mean)
    seconds = steps * step_seconds(known, machine, Data(rows=1, tokens=mean), _SHARE * 1e12 * TFLOPS[gpu])
    if recipe.rl in ("dpo", "ipo", "kto"):
        seconds *= _REFERENCE
    if machine.processes > 1:
        seconds /= _SHARED_OUT if recipe.fsdp_version else _TOGETHER
    return seconds / 3600


def _spoken(hours: float) -> str:
    """With two digits at most, as so rough a figure deserves."""
    if hours < 1:
        return f"{max(round(hours * 12) * 5, 5)} min"
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
