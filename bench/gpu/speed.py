"""Tokens per second and peak memory of our runs and of what people run without us, in turn on the same GPU:
python bench/gpu/speed.py FOLDER [--tiny] [--page docs/performance.md] [NAME ...]

Writes FOLDER/speed.md, a table with the GPU and the versions, and FOLDER/speed.png, the loss of each by its seconds;
`--page` puts both into a page, between its two marks. With names, only those run; what others left in FOLDER is shown
beside them, so that a host that is lent for minutes can be asked twice. `--tiny` tries the script itself where there is
no GPU. Tokens are those of the rows, padding not counted; the rate is the median step's after the first third. The
limit is that of the matrix products of LoRA training, 4 FLOP a token and parameter, at LIMIT."""

import argparse
import json
import os
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
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
LABELS = {
    "ours": "8 rows a step in one pass, 4-bit (`tokens_per_pass: 4096`, `cuda_graphs: true`)",
    "ours-eager": "the same without `cuda_graphs`",
    "ours-unsloth": "`backend: unsloth`, the recipe as it is",
    "ours-small": "4-bit, checkpointing, `activation_offloading: true`, `tokens_per_pass: 4096`",
    "ours-smallest": "the same with `tokens_per_pass: 2048`",
    "ours-packed": "packed, 4-bit, checkpointing (`tokens_per_pass: 16384`)",
    "ours-packed-bf16": "packed, bf16 LoRA, no checkpointing, `adamw_torch_fused`",
    "unsloth": "the usual Unsloth script (2 x 4 rows, unpacked)",
    "trl": "TRL + PEFT, 2 x 4 rows, unpacked",
    "unsloth-8x1": "the Unsloth script with 8 rows in one pass",
    "trl-8x1": "TRL + PEFT, 8 rows in one pass",
    "trl-packed": "TRL + PEFT + Liger, packed, 4-bit",
    "trl-packed-bf16": "TRL + PEFT + Liger, packed, bf16, no checkpointing",
}
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
MARKS = ("<!-- speed -->", "<!-- end of speed -->")
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
    return left(folder, name)


def left(folder: Path, name: str) -> list[Line]:
    """What a run wrote, this time or the last."""
    if name not in OURS:
        return read(folder / f"{name}.jsonl")
    lines = read(folder / name / "metrics.jsonl")
    said = json.loads((folder / name / "run.json").read_text()) if lines else {}
    peak = said.get("peak_memory_gib", 0.0)
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
        beside = f"{tokens / rates[other]:.1f} × {LABELS[other]}" if other in rates else ""
        share = tokens * 4 * PARAMETERS / LIMIT
        loss = f"{lines[0]['loss']:.3f} → {lines[-1]['loss']:.3f}"
        rows.append(f"| {LABELS[name]} | {tokens:,.0f} | {share:.0%} | {lines[-1]['peak']:.2f} | {loss} | {beside} |")
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


def facts() -> str:
    """The GPU and the versions, in one line."""
    import torch

    names = ("torch", "transformers", "trl", "peft", "bitsandbytes", "unsloth", "liger-kernel")
    found = [f"{name} {version}" for name in names if (version := version_of(name))]
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else "no GPU"
    return f"One **{gpu}** ({', '.join(found)}), {datetime.now(UTC):%Y-%m-%d}.\n"


def version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def into(page: Path, text: str, plot: Path) -> None:
    """Put text and plot into a page between its marks. ValueError if it has none."""
    before, _, rest = page.read_text().partition(MARKS[0])
    _, end, after = rest.partition(MARKS[1])
    if not end:
        raise ValueError(f"{page} has no {MARKS[0]} and {MARKS[1]}")
    page.write_text(f"{before}{MARKS[0]}\n{text}{MARKS[1]}{after}")
    shutil.copy(plot, page.parent / "img" / "gpu_speed.png")


def main(folder: Path, names: list[str], tiny: bool, page: Path | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    fixture.make(folder, tiny)
    every = [*OURS, *PEERS]
    measured = {}
    for name in names or every:
        measured[name] = (ours if name in OURS else theirs)(folder, name, tiny)
        told = f"{rate(measured[name]):,.0f} tokens/s" if len(measured[name]) > 2 else "failed, see its log"
        print(name, told, flush=True)
        # After each, so that what was measured is kept where the machine is taken back.
        whole = {one: measured.get(one) or left(folder, one) for one in every}
        whole = {one: lines for one, lines in whole.items() if lines}
        (folder / "speed.md").write_text(f"{facts()}\n{table(whole)}")
        plot(whole, folder / "speed.png")
    print((folder / "speed.md").read_text())
    if page:
        into(page, (folder / "speed.md").read_text(), folder / "speed.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join([*OURS, *PEERS]))
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--page", type=Path)
    given = parser.parse_intermixed_args()
    if unknown := set(given.names) - set(LABELS):
        parser.error(f"no such run: {', '.join(unknown)}")
    main(given.folder.resolve(), given.names, given.tiny, given.page)
