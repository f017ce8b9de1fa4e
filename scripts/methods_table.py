"""Train every combination of method, adapter and weights, at tiny size on the CPU, and write what came of each into
docs/methods_table.md: python scripts/methods_table.py [FOLDER] [METHOD ...]

A cell is a real run through the command line. It says how many steps were run, whether the loss fell (for a reward:
whether it rose), whether the saved adapter or model loads again as it was, and whether it gives the same when it is
merged; or why the program refuses the combination. Knows the tables of methods and adapters, and no method's inside."""

import contextlib
import io
import json
import os
import random
import sys
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", TOKENIZERS_PARALLELISM="false")

import yaml  # noqa: E402

from finetune.adapters import ADAPTERS  # noqa: E402
from finetune.cli import main  # noqa: E402
from finetune.methods import METHODS  # noqa: E402

PAGE = ROOT / "docs" / "methods_table.md"
STEPS = 12
SEVERAL: dict[str, dict[str, Any]] = {
    "all weights": {"learning_rate": 2e-3},
    "lora": {"adapter": "lora"},
    "lora, DoRA": {"adapter": "lora", "peft_use_dora": True},
    "lora, PiSSA": {"adapter": "lora", "peft_init_lora_weights": "pissa"},
    "qlora, LoftQ": {"adapter": "qlora", "peft": {"loftq_config": {"loftq_bits": 4}}},
    "qlora": {"adapter": "qlora"},
    "ia3": {"adapter": "ia3", "learning_rate": 0.1},
    "prefix_tuning": {"adapter": "prefix_tuning", "num_virtual_tokens": 4, "learning_rate": 3e-2},
    "prompt_tuning": {"adapter": "prompt_tuning", "num_virtual_tokens": 4, "learning_rate": 0.3},
    "p_tuning": {"adapter": "p_tuning", "num_virtual_tokens": 4},
}
"""What is trained -> its lines. Adapters of the table that are missing here get the plain line."""
WEIGHTS: dict[str, dict[str, Any]] = {
    "as they are": {},
    "4-bit nf4": {"load_in_4bit": True},
    "8-bit": {"load_in_8bit": True},
    "8-bit torchao": {"load_in_torchao": "int8"},
}
LINES: dict[str, dict[str, Any]] = {"sft": {}, "reward": {"reward_model": True}}
"""Method -> the lines that ask for it; the others are asked for by `rl`."""
WORDS = "the sun is warm and the sea is calm today we walk home and talk about small things".split()
ROUNDING = {"as they are": 1e-5}
"""Largest difference of logits after loading that counts as equal; on quantized weights TRL trains in bfloat16."""


def rows_for(kind: str) -> list[dict[str, Any]]:
    """48 rows that a tiny model learns from: the good answers are calm, the bad ones are not."""
    rng = random.Random(3)
    found: list[dict[str, Any]] = []
    for _ in range(48):
        prompt = [{"role": "user", "content": " ".join(rng.choices(WORDS, k=5))}]
        good = [{"role": "assistant", "content": "the sea is calm " + " ".join(rng.choices(WORDS, k=3))}]
        bad = [{"role": "assistant", "content": "zz qq xx " + " ".join(rng.choices(WORDS, k=2))}]
        if kind == "pair":
            found.append({"prompt": prompt, "chosen": good, "rejected": bad})
        elif kind == "judged":
            label = rng.random() < 0.5
            found.append({"prompt": prompt, "completion": good if label else bad, "label": label})
        elif kind == "prompt":
            found.append({"prompt": prompt})
        else:
            found.append({"messages": prompt + good})
    return found


def lines_for(method: str, folder: Path) -> dict[str, Any]:
    lines = LINES.get(method, {"rl": method})
    kind = getattr(METHODS[method], "kind", "rows")
    data = folder / f"{kind}.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows_for(kind)))
    entry = {"path": str(data)} | ({"type": "chat_template"} if method == "sft" else {})
    if kind == "prompt":
        (folder / "rewards.py").write_text(
            "def calm(completions, **columns):\n"
            "    texts = [one if isinstance(one, str) else one[0]['content'] for one in completions]\n"
            "    return [float(text.count('a')) for text in texts]\n"
        )
        rewarded = {"reward_funcs": [f"{folder}/rewards.py:calm"], "num_generations": 2, "max_completion_length": 8}
        lines = lines | {"trl": rewarded}
        return lines | {"datasets": [entry]}
    return lines | {"datasets": [entry], "val_set_size": 0.2}


def cell(method: str, lines: dict[str, Any], weights: str, place: Path, base: Path) -> str:
    """What came of one combination, in a few words."""
    place.mkdir(parents=True)
    values = {
        "base_model": str(base),
        "backend": "transformers",
        "learning_rate": 5e-3,
        "max_steps": STEPS,
        "sequence_len": 128,
        "logging_steps": 1,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "output_dir": str(place / "run"),
        "generation_max_new_tokens": 2,
        "sample_prompts": ["how are you"],
        **lines_for(method, place),
        **lines,
        **WEIGHTS[weights],
    }
    recipe = place / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(values))
    shown = io.StringIO()
    with contextlib.redirect_stderr(shown), contextlib.redirect_stdout(io.StringIO()), saved_logits() as said:
        try:
            code = main([str(recipe)])
        except Exception as error:  # noqa: BLE001 - a fault of the program is no blank cell either
            return f"FAILED: {type(error).__name__}: {str(error).splitlines()[0][:100]}"
    if code:
        return f"refused: {_reason(shown.getvalue())}"
    return ", ".join([*_learned(place / "run"), *_same(place / "run", said, weights, base)])


def _reason(text: str) -> str:
    line = next((line for line in reversed(text.splitlines()) if "error: " in line), text.strip())
    return line.split("error: ", 1)[-1].split(" [FT")[0].replace("|", "/")


def _learned(run: Path) -> Iterator[str]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    rewards = [line["reward"] for line in lines if "reward" in line]
    losses = [line["loss"] for line in lines if "loss" in line]
    measured = [line["eval_loss"] for line in lines if "eval_loss" in line]
    yield f"{len(losses)} steps"
    part = max(1, len(losses) // 4)
    if rewards:
        first, last = (sum(some) / part for some in (rewards[:part], rewards[-part:]))
        yield f"reward {'rose' if last > first else 'did not rise'} ({first:.2f} → {last:.2f})"
    else:
        first, last = measured[0], measured[-1]
        yield f"loss {'fell' if last < first else 'did not fall'} ({first:.3f} → {last:.3f})"


def _same(run: Path, said: list[Any], weights: str, base: Path) -> Iterator[str]:
    from finetune.plan import Plan
    from finetune.rundir import RunDir
    from finetune.trained import load_trained

    plan = Plan.from_json(json.loads((run / "plan.json").read_text()))
    try:
        model = load_trained(plan, RunDir(run)).model
    except Exception as error:  # noqa: BLE001 - the table says what went wrong, whatever it is
        yield f"reload failed ({str(error).splitlines()[0][:80]})"
        return
    gap = float((logits(model) - said[-1]).abs().max())
    yield f"reload {'equal' if gap <= ROUNDING.get(weights, 2e-2) else 'differs'} ({gap:.0e})"
    if plan.has_adapter:
        yield _merged(run / "adapter", base, type(model.get_base_model()))


def _merged(adapter: Path, base: Path, kind: Any) -> str:
    """Merged in float32 on the weights as they are in base_model, which is how an adapter is merged."""
    from peft import PeftConfig, PeftModel

    if PeftConfig.from_pretrained(str(adapter)).is_prompt_learning:
        return "merge: none, its tokens are no weights"
    model = PeftModel.from_pretrained(kind.from_pretrained(base), str(adapter))
    before = logits(model)
    gap = float((logits(model.merge_and_unload()) - before).abs().max())
    return f"merge {'equal' if gap < 1e-5 else 'differs'} ({gap:.0e})"


def logits(model: Any) -> Any:
    import torch

    ids = torch.arange(24).reshape(2, 12)
    model.eval()
    with torch.no_grad():
        found = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits.float()
    return found[:, -12:] if found.ndim == 3 else found


@contextlib.contextmanager
def saved_logits() -> Iterator[list[Any]]:
    """What the model says each time a finished run saves it."""
    import peft
    import transformers

    said: list[Any] = []
    owners = (peft.PeftModel, transformers.PreTrainedModel)
    whole = {owner: owner.save_pretrained for owner in owners}

    def recorder(owner: Any) -> Any:
        def recorded(self: Any, save_directory: Any, *rest: Any, **more: Any) -> Any:
            if str(save_directory).endswith(".partial"):
                said.append(logits(self))
            return whole[owner](self, save_directory, *rest, **more)

        return recorded

    for owner in owners:
        owner.save_pretrained = recorder(owner)
    try:
        yield said
    finally:
        for owner in owners:
            owner.save_pretrained = whole[owner]


def write_page(methods: list[str], folder: Path) -> None:
    """Method by method, so that a run that is stopped leaves what it has."""
    from tests import tiny

    missing = {name: {"adapter": name} for name in ADAPTERS if name not in {one.split(",")[0] for one in SEVERAL}}
    base = tiny.save_model(folder / "base")
    lines = [
        "# Methods, adapters and weights",
        "",
        f"Every combination, trained for real on a CPU: a Llama of 2 layers, {STEPS} steps, 48 rows. Written by "
        "`python scripts/methods_table.py`.",
        "",
        "The loss is that of validation rows, before and after. *reload*: the largest difference of logits between the "
        "model that was trained and what is loaded from the run folder. *merge*: between the adapter beside the base "
        "model and merged into it, in float32.",
        "",
    ]
    for method in methods:
        lines += [f"## {method}", "", f"| | {' | '.join(WEIGHTS)} |", "|---|" + "---|" * len(WEIGHTS)]
        for name, chosen in {**SEVERAL, **missing}.items():
            found = []
            for weights in WEIGHTS:
                place = folder / f"{method}-{name}-{weights}".replace(" ", "_").replace(",", "")
                started = time.monotonic()
                found.append(cell(method, chosen, weights, place, base))
                print(f"{method} | {name} | {weights}: {found[-1]} ({time.monotonic() - started:.0f} s)", flush=True)
            lines.append(f"| {name} | {' | '.join(found)} |")
        lines.append("")
        PAGE.write_text("\n".join(lines), "utf-8")


if __name__ == "__main__":
    import tempfile

    warnings.simplefilter("ignore")
    given = [word for word in sys.argv[1:] if word not in METHODS]
    only = [word for word in sys.argv[1:] if word in METHODS] or list(METHODS)
    with tempfile.TemporaryDirectory() as default:
        write_page(only, Path(given[0] if given else default))
