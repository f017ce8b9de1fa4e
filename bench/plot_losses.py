"""Draw the training loss of several runs into one picture: python bench/plot_losses.py OUT.png NAME=RUN_DIR …

Needs matplotlib, which nothing else here does."""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(7, 3.6), dpi=150)
for word, style in zip(sys.argv[2:], ("-", "--", ":", "-."), strict=False):
    name, _, folder = word.partition("=")
    entries = [json.loads(line) for line in (Path(folder) / "metrics.jsonl").read_text().splitlines()]
    points = [(entry["step"], entry["loss"]) for entry in entries if "loss" in entry]
    axes.plot(*zip(*points, strict=True), style, label=name, linewidth=2)
axes.xaxis.get_major_locator().set_params(integer=True)
axes.set_xlabel("optimizer step")
axes.set_ylabel("training loss")
axes.legend(frameon=False)
axes.spines[["top", "right"]].set_visible(False)
figure.tight_layout()
figure.savefig(sys.argv[1])
