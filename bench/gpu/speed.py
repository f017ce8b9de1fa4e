"""Tokens per second and peak memory of our runs and of what people run without us, in turn on the same GPU:
python bench/gpu/speed.py FOLDER [--tiny] [NAME ...]

Writes FOLDER/speed.md, a table, and FOLDER/speed.png, the loss of each by its seconds. `--tiny` tries the script itself
where there is no GPU. Tokens are those of the rows, padding not counted; the rate is the median step's after the first
third. The limit is that of the matrix products of LoRA training, 4 FLOP a token and parameter, at LIMIT."""

import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).parent))

import itertools

import fixture

ROOT = Path(__file__).resolve().parents[2]
RECIPE = "recipes/phi35_samantha.yaml"
LIMIT = 798e12
"""bfloat16 FLOP/s that an H100 reaches in large matrix products."""
PARAMETERS = 3.72e9
"""Those that a token is multiplied with: the embedding is looked up."""
KERNELS = ["liger_rope=true", "liger_rms_norm=true", "liger_glu_activation=true"]
WHOLE = ["micro_batch_size=8", "gradient_accumulation_steps=1", "sample_packing=true"]
PLAIN = ["gradient_checkpointing=false"]
SMALL = ["backend=transformers", "gradient_checkpointing=true", "activation_offloading=true", *KERNELS]
OURS = {
    "ours": ["backend=transformers", *PLAIN, *KERNELS, "tokens_per_pass=4096", "cuda_graphs=true"],
    "ours-eager": ["backend=transformers", *PLAIN, *KERNELS, "tokens_per_pass=4096"],
    "ours-unsloth": ["backend=unsloth"],
    "ours-small": [*SMALL, "tokens_per_pass=4096"],
    "ours-smallest": [*SMALL, "tokens_per_pass=2048"],
    "ours-packed": ["backend=transformers", "gradient_checkpointing=true", *KERNELS, *WHOLE, "tokens_per_pass=16384"],
    "ours-packed-bf16": [
        *["backend=transformers", *PLAIN, *KERNELS, *WHOLE, "load_in_4bit=false", "adapter=lora"],
        *["optimizer=adamw_torch_fused", "dataloader_num_workers=2"],
    ],
}
PEERS = ("unsloth", "trl", "unsloth-8x1", "trl-8x1", "trl-packed", "trl-packed-bf16")
BESIDE = {
    "ours": "unsloth",
    "ours-eager": "unsloth",
    "ours-unsloth": "unsloth",
    "ours-small": "unsloth",
    "ours-smallest": "unsloth",
    "ours-packed": "trl-packed",
    "ours-packed-bf16": "trl-packed-bf16",
}
STEPS, SECONDS = 24, 180
Line = dict[str, float]


def ours(folder: Path, name: str, tiny: bool) -> list[Line]:
    out = folder / name
    words = [
        f"base_model={folder}/model",
        f"datasets.0.path={folder}/chat.jsonl",
        f"output_dir={out}",
        f"max_steps={STEPS}",
        "logging_steps=1",
        "save_strategy=no",
        "sample_prompts=[Hello]",
        "generation_max_new_tokens=8",
        *OURS[name],
    ]
    if tiny:
        words = [word for word in words if not word.startswith("liger")]
        words += ["load_in_4bit=false", "adapter=lora", "optimizer=adamw_torch", "max_steps=3", "bf16=false"]
    run([sys.executable, "-m", "finetune", RECIPE, *words, "--overwrite"], folder / f"{name}.log")
    lines = read(out / "metrics.jsonl")
    facts = json.loads((out / "run.json").read_text()) if lines else {}
    peak = facts.get("peak_memory_gib", 0.0)
    return [line | {"tokens": line["num_input_tokens_seen"], "peak": peak} for line in lines]


def theirs(folder: Path, name: str, tiny: bool) -> list[Line]:
    out = folder / f"{name}.jsonl"
    program = [sys.executable, str(ROOT / "bench/gpu/peers.py"), str(folder), name, str(3 if tiny else STEPS), str(out)]
    run([*program, *(["--tiny"] if tiny else [])], folder / f"{name}.log")
    return read(out)


def run(command: list[str], log: Path) -> None:
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "HF_HUB_OFFLINE": "1"}
    with log.open("w") as file:
        try:
            subprocess.run(command, cwd=ROOT, env=environment, stdout=file, stderr=file, timeout=SECONDS)
        except subprocess.TimeoutExpired:
            print(f"{log.stem} was ended after {SECONDS} s", flush=True)


def read(path: Path) -> list[Line]:
    lines = path.read_text().splitlines() if path.exists() else []
    return [line for line in map(json.loads, lines) if "loss" in line]


def rate(lines: list[Line]) -> float:
    """Tokens per second of the median step."""
    steps = list(itertools.pairwise(lines))[len(lines) // 3 :]
    tokens = sum(after["tokens"] - before["tokens"] for before, after in steps) / len(steps)
    return tokens / median(after["seconds"] - before["seconds"] for before, after in steps)


def table(measured: dict[str, list[Line]]) -> str:
    rates = {name: rate(lines) for name, lines in measured.items() if len(lines) > 2}
    rows = ["| run | tokens/s | share of the limit | peak GiB | loss, first → last | |", "|---|---:|---:|---:|---|---|"]
    for name, tokens in rates.items():
        lines, other = measured[name], BESIDE.get(name, "")
        beside = f"{tokens / rates[other]:.1f} × {other}" if other in rates else ""
        share = tokens * 4 * PARAMETERS / LIMIT
        loss = f"{lines[0]['loss']:.3f} → {lines[-1]['loss']:.3f}"
        rows.append(f"| {name} | {tokens:,.0f} | {share:.0%} | {lines[-1]['peak']:.2f} | {loss} | {beside} |")
    return "\n".join(rows) + "\n"


def plot(measured: dict[str, list[Line]], out: Path) -> None:
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 4), dpi=150)
    for name, lines in measured.items():
        began = lines[0]["seconds"] if lines else 0.0
        style = "-" if name in OURS else "--"
        axes.plot([line["seconds"] - began for line in lines], [line["loss"] for line in lines], style, label=name)
    axes.set_xlabel("seconds after the first step")
    axes.set_ylabel("training loss")
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out)


def main(folder: Path, names: list[str], tiny: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fixture.make(folder, tiny)
    measured = {}
    for name in names or [*OURS, *PEERS]:
        measured[name] = (ours if name in OURS else theirs)(folder, name, tiny)
        print(
            name,
            f"{rate(measured[name]):,.0f} tokens/s" if len(measured[name]) > 2 else "failed, see its log",
            flush=True,
        )
        # After each, so that what was measured is kept where the machine is taken back.
        (folder / "speed.md").write_text(table(measured))
        plot(measured, folder / "speed.png")
    print(table(measured))


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if word != "--tiny"]
    main(Path(given[0]).resolve(), given[1:], "--tiny" in sys.argv)
