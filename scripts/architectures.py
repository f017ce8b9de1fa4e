"""Train a tiny model of each architecture through the command line, on the CPU, and write what came of it into
docs/architectures.md: python scripts/architectures.py FOLDER [MODEL_TYPE ...]

What an architecture came to is kept in FOLDER, so that they can be tried some at a time, and the page holds all that
are there. Decides what the page says; tests/architectures.py makes the models."""

import contextlib
import io
import json
import os
import random
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from finetune.cli import main  # noqa: E402
from tests import tiny  # noqa: E402
from tests.architectures import EVERY, tiny_model  # noqa: E402

PAGE = ROOT / "docs" / "architectures.md"
ALIKE = 5e-4
RECIPE = """base_model: {folder}/model
datasets: [{{path: {folder}/rows.jsonl, type: chat_template}}]
sequence_len: 128
micro_batch_size: 4
gradient_accumulation_steps: 1
max_steps: 3
learning_rate: 0.001
logging_steps: 1
optimizer: adamw_torch
bf16: false
seed: 1
sample_prompts: []
generation_max_new_tokens: 4
output_dir: {folder}/{name}
"""
RUNS = {
    "lora": "adapter: lora\nlora_r: 4\n",
    "padded": "adapter: lora\nlora_r: 4\nbatch_flattening: false\n",
    "full": "",
    "qlora": "adapter: qlora\nlora_r: 4\nload_in_4bit: true\n",
}
INTRODUCTION = """# Architectures

A tiny model of each architecture (`model_type` in `config.json`), with weights at random, trained through the command
line on a CPU: with LoRA on all linear layers, with all weights, with QLoRA, and merged. Written by
`python scripts/architectures.py FOLDER [MODEL_TYPE ...]`; `pytest -m slow tests/test_every_architecture.py` compares
the answers in rows that lie flat with those of each document alone, for every architecture of the installed
transformers.

*Rows*: how the rows of a batch reach the model where the recipe leaves that open. **flat**: end to end, each read as if
it were alone, which is tried on the loaded model before the first step; *own attention*: with the attention that the
model came with, where variable-length attention is unfit. **padded**: they cannot lie flat, and `sample_packing: true`
is refused; the reason is said when a run begins. Wherever rows lie flat, the losses of padded rows are equal.

*LoRA leaves out*: layers that `all-linear` does not cover, since an adapter on them would not be seen or would break
the model. *Experts*: those that lie in one tensor of three dimensions get **no LoRA** where `lora_target_parameters`
does not name them, and are **not in 4 bits** with QLoRA; a run says how much of the model that is. *Merge*: of the LoRA
run, with its proof.

What is not listed was not tried here. It is tried all the same when it is trained.

| model_type | rows | LoRA | LoRA leaves out | experts | all weights | QLoRA | merge |
|---|---|---|---|---|---|---|---|
"""


def say(argv: list[str]) -> tuple[int | str, str]:
    """(exit code or the name of what was raised, what was printed)"""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        try:
            return main(argv), out.getvalue()
        except Exception as error:  # noqa: BLE001 - it is what the page is about
            return type(error).__name__, out.getvalue()


def losses(folder: Path) -> list[float]:
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    return [line["loss"] for line in lines if "loss" in line]


def tried(kind: str, folder: Path) -> dict[str, str]:
    """The cells of one architecture."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tokenizer = tiny.tokenizer_of("chatml")
    ends = {"eos_token_id": tokenizer.eos_token_id, "bos_token_id": tokenizer.eos_token_id}
    try:
        model = tiny_model(kind, vocabulary=len(tokenizer), pad_token_id=tokenizer.pad_token_id, **ends)
    except Exception as error:  # noqa: BLE001 - whatever a configuration made small by rote raises
        return {"rows": f"not made: {type(error).__name__}"}
    model.save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows())))
    said = {name: _run(folder, name, more) for name, more in RUNS.items()}
    merged = say(["merge", str(folder / "lora")])[0] if said["lora"][0] == 0 else "-"
    found = {name: _word(code) for name, (code, _) in said.items()} | {"merge": _word(merged)}
    found["rows"] = _rows(folder, said["lora"])
    text = said["lora"][1]
    found["left"] = ", ".join(re.findall(r"LoRA leaves out ([^:]*):", text)) or ""
    told = {"no LoRA": "on which LoRA is not" in text, "not in 4 bits": "linear layers alone" in said["qlora"][1]}
    found["experts"] = ", ".join(words for words, is_so in told.items() if is_so)
    shutil.rmtree(folder)
    return found


def rows() -> list[dict[str, Any]]:
    rng = random.Random(1)
    made = []
    for _ in range(24):
        asked, answered = (tiny.sentence(rng, rng.randint(2, most)) for most in (12, 25))
        made.append({"messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": answered}]})
    return made


def _run(folder: Path, name: str, more: str) -> tuple[int | str, str]:
    (folder / f"{name}.yaml").write_text(RECIPE.format(folder=folder, name=name) + more)
    return say(["train", str(folder / f"{name}.yaml")])


def _rows(folder: Path, said: tuple[int | str, str]) -> str:
    code, text = said
    if code != 0:
        return "refused: it sees what it is to predict" if "sees the tokens" in text else "refused"
    if "batches are padded" in text:
        return "padded"
    apart = max(abs(one - two) for one, two in zip(losses(folder / "lora"), losses(folder / "padded"), strict=True))
    words = "flat, own attention" if "attention stays" in text else "flat"
    return words if apart < ALIKE else f"{words}; losses {apart:.1e} off those of padded rows"


def _word(code: int | str) -> str:
    return {0: "trained", 8: "refused", 5: "refused"}.get(code, str(code)) if code != "-" else "-"


def page(found: Mapping[str, Mapping[str, str]]) -> str:
    lines = []
    for kind, cells in sorted(found.items()):
        if "lora" not in cells:
            continue
        merge = cells["merge"].replace("trained", "proven")
        left = ", ".join(f"`{name}`" for name in cells["left"].split(", ") if name)
        told = (cells["lora"], left, cells["experts"], cells["full"], cells["qlora"], merge)
        lines.append(f"| `{kind}` | {cells['rows']} | {' | '.join(told)} |")
    return INTRODUCTION + "\n".join(lines) + "\n"


def write(folder: Path, kinds: list[str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kept = folder / "architectures.json"
    for kind in kinds:
        cells = tried(kind, folder / kind)
        found = json.loads(kept.read_text()) if kept.is_file() else {}
        kept.write_text(json.dumps(found | {kind: cells}, indent=1))
        print(kind, cells, flush=True)
    if kept.is_file():
        PAGE.write_text(page(json.loads(kept.read_text())))


if __name__ == "__main__":
    write(Path(sys.argv[1]), sys.argv[2:] or list(EVERY))
