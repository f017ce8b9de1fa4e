"""Draw the learning curve of each method's recipe into docs/img: python scripts/methods_curves.py NAME=RUN_DIR ...

NAME is what a recipe is called behind `quickstart_`, RUN_DIR the folder that its run wrote. Reads metrics.jsonl alone.
Needs matplotlib."""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "img"
MARGIN = "chosen above rejected"
CURVES = {
    "sft": ("loss of an answer's tokens", "loss", "held-out rows"),
    "pretrain": ("loss of a token", "loss", "held-out entries"),
    "dpo": (MARGIN, "rewards/margins", "held-out pairs"),
    "orpo": (MARGIN, "rewards/margins", "held-out pairs"),
    "kto": ("good above bad", "rewards/margins", "held-out answers"),
    "reward": ("better above worse", "margin", "held-out pairs"),
    "grpo": ("reward of an answer", "reward", "held-out questions"),
    "rloo": ("score of an answer", "reward", "held-out questions"),
}
"""Recipe -> what is drawn upwards, its name in metrics.jsonl, and what it is measured on."""


def draw(name: str, run: Path) -> Path:
    """The picture of one run. SystemExit if its metrics hold none of the figures."""
    said, key, held_out = CURVES[name]
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text("utf-8").splitlines()]
    figure, axes = plt.subplots(figsize=(6.4, 3.2), dpi=120)
    for figure_key, label, marker in ((key, "training", ""), (f"eval_{key}", held_out, "o")):
        points = _points(entries, figure_key)
        if not points:
            sys.exit(f"{run}/metrics.jsonl holds no {figure_key}: is it a run of quickstart_{name}.yaml?")
        axes.plot(*zip(*points, strict=True), label=label, linewidth=2, marker=marker)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylim(bottom=0 if "loss" in said else None)
    axes.set_xlabel("optimizer step")
    axes.set_ylabel(said)
    axes.set_title(f"recipes/quickstart{'' if name == 'sft' else f'_{name}'}.yaml", fontsize=10)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    target = IMAGES / f"method_{name}.png"
    figure.savefig(target)
    plt.close(figure)
    return target


def _points(entries: list[dict[str, Any]], key: str) -> list[tuple[int, float]]:
    return [(entry["step"], entry[key]) for entry in entries if isinstance(entry.get(key), float)]


def main(arguments: list[str]) -> int:
    pairs = [word.partition("=") for word in arguments]
    if not pairs or any(name not in CURVES or not folder for name, _, folder in pairs):
        print(__doc__, f"NAME: {', '.join(CURVES)}", file=sys.stderr)
        return 2
    for name, _, folder in pairs:
        print(draw(name, Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
