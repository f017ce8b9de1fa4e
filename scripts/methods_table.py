"""Train every combination of method, adapter and weights, at tiny size on the CPU, and write what came of each into
docs/methods_table.md: python scripts/methods_table.py FOLDER [METHOD ...]

What a cell came to is kept in FOLDER/cells, so that methods can be trained one by one, and the page holds all that are
there. Decides what the page says; methods_cells.py trains."""

import gc
import json
import os
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

from methods_cells import FROZEN, PARTS, STEPS, VARIANTS, WEIGHTS, cell, talking_model  # noqa: E402

from finetune.adapters import ADAPTERS  # noqa: E402
from finetune.methods import METHODS  # noqa: E402

PAGE = ROOT / "docs" / "methods_table.md"
ALL = ("sft", "pretraining", *(name for name in METHODS if name != "sft"))
SAID = {
    "sft": "fine-tuning",
    "pretraining": "continued pretraining (`type: completion`)",
    "reward": "`reward_model: true`",
}
RELATIVES = ("ipo", "simpo", "cpo", "gdpo")
"""Methods that share trainer and configuration with another one, and differ in their loss."""
UNQUANTIZED, QUANTIZED = "as they are", "4-bit nf4"
Cells = Mapping[str, str]
INTRODUCTION = f"""# Methods, adapters and weights

Every combination, trained for real on a CPU through the command line: a Llama of 2 layers, {STEPS} steps, 48 rows.
Written by `python scripts/methods_table.py FOLDER [METHOD ...]`; a whole run takes hours on two cores, so the tables
below are from several runs of it, some methods at a time.

*5.821 → 4.394*: the loss of validation rows, before and after, or with `rl: grpo`, `gdpo` and `rloo` the reward of the
first and the last quarter of the steps, beginning from a model that was fine-tuned on the rows before. *reload*: the
largest difference of logits between the model that was trained and what is loaded from the run folder; on quantized
weights, up to 2e-2 counts as equal. *merge*: between the adapter beside the base model and merged into it, in float32.
(1) and its like: refused by name, for the reason of that number under the tables.
"""


def make_models(folder: Path) -> None:
    """The tiny model, its quantized checkpoints, and an adapter to go on from."""
    if (folder / "earlier").is_dir():
        return
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    from tests import tiny

    base = tiny.save_model(folder / "base")
    tokenizer = AutoTokenizer.from_pretrained(base)
    double = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)
    for model in (base, talking_model(folder)):
        quantized = AutoModelForCausalLM.from_pretrained(model, quantization_config=double)
        for kind in ("bnb-4bit", "gptq", "awq"):
            path = Path(f"{model}-{kind}")
            quantized.save_pretrained(path)
            tokenizer.save_pretrained(path)
            if kind != "bnb-4bit":
                # What the program judges is the word in config.json: it does not come to loading.
                config = json.loads((path / "config.json").read_text())
                config["quantization_config"] = {"quant_method": kind, "bits": 4, "group_size": 128}
                (path / "config.json").write_text(json.dumps(config))
    targets = "q_proj k_proj v_proj o_proj gate_proj up_proj down_proj".split()
    lora = LoraConfig(r=8, lora_alpha=16, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(AutoModelForCausalLM.from_pretrained(base), lora).save_pretrained(folder / "earlier")


def wanted(method: str) -> Iterator[tuple[str, str, dict[str, object]]]:
    """(what is trained, weights, lines) of each cell of a method."""
    if method in RELATIVES:
        yield "all weights", UNQUANTIZED, PARTS["all weights"]
        yield "lora", UNQUANTIZED, PARTS["lora"]
        yield "qlora", QUANTIZED, PARTS["qlora"]
        return
    missing = {name: {"adapter": name} for name in ADAPTERS if name not in {one.split(",")[0] for one in PARTS}}
    for name, lines in {**PARTS, **missing}.items():
        for weights in WEIGHTS:
            yield name, weights, lines
    for name, lines in VARIANTS.items():
        yield name, UNQUANTIZED, {"adapter": "lora", **lines}
    for name, lines in FROZEN.items():
        yield name, UNQUANTIZED, lines


def train_cells(method: str, folder: Path) -> None:
    """Train what is not in FOLDER/cells yet, and write it there cell by cell."""
    store = folder / "cells" / f"{method}.json"
    store.parent.mkdir(parents=True, exist_ok=True)
    found = json.loads(store.read_text()) if store.is_file() else {}
    for name, weights, lines in wanted(method):
        key = f"{name} | {weights}"
        if key in found and not found[key].startswith("FAILED"):
            continue
        place, started = folder / f"{method}-{key}".replace(" ", "_").replace(",", ""), time.monotonic()
        found[key] = cell(method, lines, weights, place)
        gc.freeze()  # what was imported stays: the collector need not look at it after every run
        store.write_text(json.dumps(found, ensure_ascii=False, indent=1))
        print(f"{method} | {key}: {found[key]} ({time.monotonic() - started:.0f} s)", flush=True)


def page(stores: Mapping[str, Cells]) -> str:
    reasons: dict[str, int] = {}
    parts: list[str] = [INTRODUCTION]
    whole = {method: cells for method, cells in stores.items() if method not in RELATIVES}
    for method, cells in whole.items():
        rows = [key.split(" | ")[0] for key in cells if key.endswith(" | 8-bit")]
        parts += [f"## {SAID.get(method, f'`rl: {method}`')}", "", _table(cells, rows, list(WEIGHTS), reasons)]
    parts += ["## Kinds of LoRA, and a part of the weights", "", f"The weights {UNQUANTIZED}.", ""]
    turned = {f"{key.split(' | ')[0]} | {method}": text for method, cells in whole.items()
              for key, text in cells.items() if key.endswith(f" | {UNQUANTIZED}")}  # fmt: skip
    parts += [_table(turned, [*VARIANTS, *FROZEN], list(whole), reasons)]
    related = {f"`rl: {method}` | {key.replace(' | ', ', ')}": text for method, cells in stores.items()
               if method in RELATIVES for key, text in cells.items()}  # fmt: skip
    columns = list(dict.fromkeys(key.split(" | ")[1] for key in related))
    parts += ["## Losses of the same trainers", "", "`ipo` is a loss of DPO's trainer, `simpo` and `cpo` of one built "
              "as ORPO's, `gdpo` is GRPO with each reward normalized.", ""]  # fmt: skip
    parts += [_table(related, list(dict.fromkeys(key.split(" | ")[0] for key in related)), columns, reasons)]
    parts += ["## Why a combination is refused", ""]
    return "\n".join([*parts, *(f"{number}. {reason}" for reason, number in reasons.items()), ""])


def _table(cells: Cells, rows: list[str], columns: list[str], reasons: dict[str, int]) -> str:
    lines = [f"| | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    for row in rows:
        shown = (_short(cells.get(f"{row} | {column}", "not trained"), reasons) for column in columns)
        lines.append(f"| {row} | {' | '.join(shown)} |")
    return "\n".join([*lines, ""])


def _short(text: str, reasons: dict[str, int]) -> str:
    if not text.startswith("refused: "):
        return text
    reason = text.removeprefix("refused: ").replace("talks-", "base-")
    number = reasons.setdefault(reason, len(reasons) + 1)
    return f"refused ({number})"


def main(arguments: list[str]) -> int:
    methods = [word for word in arguments[1:] if word in ALL]
    if not arguments or arguments[0] in ALL or len(methods) != len(arguments) - 1:
        print(__doc__, file=sys.stderr)
        return 2
    folder = Path(arguments[0]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    make_models(folder)
    for method in methods or ALL:
        train_cells(method, folder)
    stores = {
        name: json.loads(path.read_text()) for name in ALL if (path := folder / "cells" / f"{name}.json").exists()
    }
    PAGE.write_text(page(stores), "utf-8")
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    sys.exit(main(sys.argv[1:]))
