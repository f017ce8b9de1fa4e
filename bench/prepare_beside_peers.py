"""Preparing data, from a file of conversations to tokens and labels on disk: ours beside the bare tokenizer and beside
the neighbours that are installed, whole processes in turn, ratios pair by pair.

Run from the repository root: python bench/prepare_beside_peers.py ROOT [ROUNDS] [ROWS]
ROOT: a folder outside the repository; data and tiny models are made in it by ../shared/peers if they are not there.
AXOLOTL_BIN, LLAMAFACTORY_PYTHON: the neighbours' own environments, where there are any. TRL is taken from this one."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

PEERS = Path(__file__).resolve().parents[2] / "shared" / "peers"
PROCESSES = 2
SAMPLE_SECONDS = 0.1
RECIPE = {
    "chat_template": "chatml",
    "sequence_len": 8192,
    "sample_packing": True,
    "learning_rate": 1e-5,
    "dataset_num_proc": PROCESSES,
}
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}


def measured(command: list[str], log: Path, **variables: str) -> tuple[float, float]:
    """(seconds, peak MB of all processes together, each page counted once where the system tells)."""
    started = time.perf_counter()
    with log.open("wb") as out:
        process = psutil.Popen(command, stdout=out, stderr=out, env=os.environ | OFFLINE | variables)
        peak = 0.0
        while process.poll() is None:
            peak = max(peak, together(process))
            time.sleep(SAMPLE_SECONDS)
    assert process.returncode == 0, f"{command} failed: see {log}"
    return time.perf_counter() - started, peak / 1e6


def together(process: psutil.Process) -> float:
    total = 0
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.Error:
        return 0
    for one in family:
        try:
            memory = one.memory_full_info()
            total += getattr(memory, "pss", 0) or memory.rss
        except psutil.Error:
            continue  # it has just ended
    return total


def made(root: Path, rows: int) -> Path:
    """The conversations: the peers' own generator, as often as it takes."""
    if not (root / "models" / "tiny-chatml").is_dir():
        subprocess.run([sys.executable, PEERS / "make_models.py", root], check=True)
    whole = root / "data" / "sharegpt_100k.jsonl"
    if not whole.is_file():
        subprocess.run([sys.executable, PEERS / "make_data.py", root], check=True)
    if rows == 100_000:
        return whole
    path = root / "data" / f"sharegpt_{rows}.jsonl"
    if not path.is_file():
        lines = whole.read_bytes().splitlines(keepends=True)
        with path.open("wb") as file:
            for number in range(rows):
                # Not the same rows again and again: a number in each makes it another.
                again, place = divmod(number, len(lines))
                file.write(lines[place].replace(b'"value": "', b'"value": "%d ' % again, 1) if again else lines[place])
    return path


def ours(root: Path, data: Path) -> Callable[[], tuple[float, float]]:
    recipe = root / "ours.yaml"
    values = RECIPE | {
        "base_model": str(root / "models" / "tiny-chatml"),
        "datasets": [{"path": str(data), "type": "chat_template"}],
        "output_dir": str(root / "ours"),
        "dataset_prepared_path": str(root / "ours.cache"),
    }
    recipe.write_text(json.dumps(values))
    command = [sys.executable, "-m", "finetune", "preprocess", str(recipe), "--output", str(root / "ours.parquet")]

    def run() -> tuple[float, float]:
        shutil.rmtree(root / "ours.cache", ignore_errors=True)
        return measured(command, root / "ours.log")

    return run


def again(root: Path) -> Callable[[], tuple[float, float]]:
    command = [sys.executable, "-m", "finetune", "preprocess", str(root / "ours.yaml"), "--output"]
    return lambda: measured([*command, str(root / "ours.parquet")], root / "again.log")


def floor(root: Path, data: Path) -> Callable[[], tuple[float, float]]:
    tokenizer = root / "models" / "tiny-chatml" / "tokenizer.json"
    command = [sys.executable, str(PEERS / "floor.py"), str(data), str(PROCESSES), str(tokenizer)]
    return lambda: measured(command, root / "floor.log")


def neighbours(root: Path) -> dict[str, Callable[[], tuple[float, float]]]:
    """Those that are installed. Each finds nothing that an earlier run kept."""
    found = {}
    fresh = root / "hf-datasets"

    def runner(name: str, command: list[str], **variables: str) -> Callable[[], tuple[float, float]]:
        def run() -> tuple[float, float]:
            shutil.rmtree(fresh, ignore_errors=True)
            shutil.rmtree(root / f"{name}.prepared", ignore_errors=True)
            return measured(command, root / f"{name}.log", HF_DATASETS_CACHE=str(fresh), **variables)

        return run

    places = {"MODELS": str(root / "models"), "DATA": str(root / "data")}
    for name in ("axolotl", "llamafactory"):
        text = (PEERS / f"{name}.yaml").read_text()
        for word, place in places.items():
            text = text.replace(word, place)
        (root / f"{name}.yaml").write_text(text)
    if folder := os.environ.get("AXOLOTL_BIN"):
        command = [f"{folder}/axolotl", "preprocess", str(root / "axolotl.yaml")]
        variables = {"PATH": f"{folder}:{os.environ['PATH']}", "AXOLOTL_DO_NOT_TRACK": "1"}
        found["axolotl"] = runner("axolotl", command, **variables)
    if python := os.environ.get("LLAMAFACTORY_PYTHON"):
        subprocess.run([sys.executable, str(PEERS / "lf_dataset_info.py"), str(root)], check=True)
        command = [python, str(PEERS / "lf_prep.py"), str(root / "llamafactory.yaml")]
        found["llamafactory"] = runner("llamafactory", command)
    messages, model = root / "data" / "messages_100k.jsonl", root / "models" / "tiny-chatml"
    command = [sys.executable, str(PEERS / "trl_prep.py"), str(messages), str(PROCESSES), str(model)]
    found["trl"] = runner("trl", command)
    return found


def main() -> None:
    root = Path(sys.argv[1]).resolve()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    rows = int(sys.argv[3]) if len(sys.argv) > 3 else 100_000
    root.mkdir(parents=True, exist_ok=True)
    data = made(root, rows)
    data.read_bytes()  # once, so that no run waits for the disk
    runs = {"ours": ours(root, data), "ours, again": again(root), "floor": floor(root, data)}
    if rows == 100_000 and "--alone" not in sys.argv:
        runs |= neighbours(root)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in runs}
    for number in range(rounds):
        for name, run in runs.items():
            found[name].append(run())
            seconds, megabytes = found[name][-1]
            print(f"round {number + 1}: {name:12} {seconds:7.1f} s {megabytes:7.0f} MB", flush=True)
    for name, figures in found.items():
        seconds = [one for one, _ in figures]
        ratios = [one / mine for (one, _), (mine, _) in zip(figures, found["ours"], strict=True)]
        print(
            f"{name:12} {statistics.median(seconds):7.1f} s [{min(seconds):.1f}-{max(seconds):.1f}]  "
            f"{max(peak for _, peak in figures):6.0f} MB  {statistics.median(ratios):.2f} x ours "
            f"[{min(ratios):.2f}-{max(ratios):.2f}]"
        )


if __name__ == "__main__":
    main()
