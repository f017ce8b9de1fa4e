"""Our runner beside a bare script that makes the libraries' own calls, with padded batches: pairs of processes in turn,
ratios pair by pair.

Run from the repository root: python bench/runner_beside_bare_script.py [PAIRS]"""

import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from finetune import stages
from finetune.backends.loaded import load_tokenizer, tokenizer_part
from finetune.machine import probe
from finetune.recipe.load import load_recipe
from finetune.resolve import resolve

RECIPE = "recipes/quickstart.yaml"
OVERRIDES = ["max_steps=120", "test_datasets=null", "sample_prompts=[]", "logging_steps=10"]


def prepare(folder: Path) -> Path:
    """Write the plan and the tokenized rows for the bare script."""
    plan = resolve(load_recipe(Path(RECIPE), [*OVERRIDES, "batch_flattening=false"]).recipe, probe())
    tokenizer, _ = load_tokenizer(tokenizer_part(plan.stage("load")))
    prepared = stages.prepare(plan, stages.open_sources(plan), tokenizer)
    _, _, ids, labels = zip(*prepared.rows("train"), strict=True)
    rows = {"input_ids": ids, "labels": labels}
    (folder / "rows.json").write_text(json.dumps(rows))
    (folder / "plan.json").write_text(json.dumps(plan.as_json()))
    return folder / "plan.json"


def bare(plan: Path, folder: Path) -> dict[str, float]:
    command = [sys.executable, "bench/bare_script.py", str(plan), str(folder / "bare")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return dict(json.loads(line.removeprefix("RESULT ")))


def ours(folder: Path, number: int) -> dict[str, float]:
    run = folder / f"run-{number}"
    command = [sys.executable, "-m", "finetune", RECIPE, *OVERRIDES, f"output_dir={run}"]
    subprocess.run(command, capture_output=True, text=True, check=True)
    facts = json.loads((run / "run.json").read_text())
    return {
        "seconds_per_step": facts["train_seconds"] / facts["steps"],
        "peak_gib": facts["peak_memory_gib"],
    }


def main() -> None:
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        plan = prepare(folder)
        measured = [(ours(folder, number), bare(plan, folder)) for number in range(pairs)]
    for key, unit in (("seconds_per_step", "s"), ("peak_gib", "GiB")):
        one, other = ([pair[side][key] for pair in measured] for side in (0, 1))
        ratios = sorted(a / b for a, b in zip(one, other, strict=True))
        print(
            f"{key}: runner {statistics.median(one):.4f} {unit}, bare {statistics.median(other):.4f} {unit}, "
            f"ratio {statistics.median(ratios):.3f} [{ratios[0]:.3f}-{ratios[-1]:.3f}] over {pairs} pairs"
        )


if __name__ == "__main__":
    main()
