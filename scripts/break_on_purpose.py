"""Break the code on purpose, one fault at a time in a copy of the repository, and see whether the suite goes red.

Run from the repository root, where `make test` passes: python scripts/break_on_purpose.py [TESTS...]
With names of test files (test_prepare), only the faults that those should notice.
Prints a Markdown table; exits with 1 if a fault goes unnoticed. Knows where faults hurt, not how they are caught."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Fault:
    """`old` must stand exactly once in `file`; `tests` are where it should be noticed."""

    name: str
    file: str
    old: str
    new: str
    tests: str


LAW_1, LAW_2, LAW_3 = "test_law_1_no_silent_keys", "test_law_2_calls_fit", "test_law_3_calls_are_made"
CODE, CONTRACT, DATA, RUNS = "test_laws_of_the_code", "test_stop_contract", "test_data", "test_runs"
PREPARE, PACKING = "test_prepare", "test_packing"
SHARED, ROWS = "finetune/methods/shared.py", "finetune/rendering/rows.py"
LABELS = "finetune/rendering/labels.py"

FAULTS = (
    Fault(
        "a dropped key",
        "finetune/methods/learning.py",
        '        "weight_decay": section.weight_decay,\n',
        "",
        LAW_1,
    ),
    Fault(
        "a hard-coded value",
        "finetune/adapters/lora.py",
        '"lora_alpha": section.lora_alpha',
        '"lora_alpha": 16',
        LAW_1,
    ),
    Fault(
        "a key that reaches another stage too",
        "finetune/methods/learning.py",
        '"max_grad_norm": section.max_grad_norm,',
        '"max_grad_norm": section.max_grad_norm + section.lora_alpha * 1e-9,',
        LAW_1,
    ),
    Fault(
        "a backend that quietly ignores what it cannot do",
        "finetune/backends/unsloth.py",
        '    "gradient_checkpointing_kwargs": "Unsloth\'s checkpointing takes no arguments",\n',
        "",
        LAW_1,
    ),
    Fault("a renamed argument", SHARED, '"per_device_train_batch_size"', '"train_batch_size"', LAW_2),
    Fault("an argument Unsloth does not have", "finetune/backends/unsloth.py", '"model_name"', '"model"', LAW_2),
    Fault(
        "a call made with fewer arguments than planned",
        "finetune/plan.py",
        "    return find(call.target)(**call.arguments, **runtime)",
        '    kept = {key: value for key, value in call.arguments.items() if key != "weight_decay"}\n'
        "    return find(call.target)(**kept, **runtime)",
        LAW_3,
    ),
    Fault("an upward import", "finetune/recipe/rules.py", "\nValues =", "\nimport finetune.runner\n\nValues =", CODE),
    Fault("a heavy import", "finetune/resolve.py", "\nSAMPLE_QUESTIONS", "\nimport torch\n\nSAMPLE_QUESTIONS", CODE),
    Fault(
        "a wrong mask: the header is learned",
        LABELS,
        "place = bisect_right(ends, start, lo=place)",
        "place = bisect_left(ends, start, lo=place)",
        CONTRACT,
    ),
    Fault(
        "a missing end token",
        LABELS,
        'spans.append((turn.start, turn.mark if ends != "turn" else turn.end))',
        "spans.append((turn.start, turn.mark))",
        CONTRACT,
    ),
    Fault(
        "an unlearned end of an instruction row",
        ROWS,
        "            spans.append((len(text), len(text) + len(end)))",
        "            spans.append((len(text), len(text)))",
        CONTRACT,
    ),
    Fault(
        "labels made from padding, where that is the end token",
        ROWS,
        "        return runs\n",
        "        return [(start, end - (ids[end - 1] == self.end)) for start, end in runs]\n",
        CONTRACT,
    ),
    Fault(
        "a doubled begin token",
        "finetune/rendering/texts.py",
        "return str(tokenizer.bos_token) if",
        "return str(tokenizer.bos_token) * 2 if",
        CONTRACT,
    ),
    Fault(
        "a stop token that generation is not told of",
        ROWS,
        "return frozenset(turn if self.end is None else turn | {self.end})",
        "return frozenset({self.end})",
        CONTRACT,
    ),
    Fault("unknown keys accepted", "finetune/recipe/base.py", 'extra="forbid"', 'extra="ignore"', "test_recipe_faults"),
    Fault("a changed default, the schema not", "finetune/recipe/training.py", "= 42\n", "= 43\n", "test_schema"),
    Fault(
        "YAML 1.1 truth",
        "finetune/recipe/source.py",
        '("false", "False", "FALSE")',
        '("false", "no", "off")',
        "test_yaml",
    ),
    Fault(
        "a split by place instead of content",
        "finetune/data/selecting.py",
        "chosen = table.digests[rows, 0].astype(numpy.float64) / 2.0**64 < val_set_size",
        "chosen = numpy.arange(len(rows)) / len(rows) < val_set_size",
        PREPARE,
    ),
    Fault(
        "a row that is measured and trained on",
        "finetune/data/selecting.py",
        "kept = training[~numpy.isin(groups[training], groups[validation])]",
        "kept = training",
        "test_odd_rows",
    ),
    Fault(
        "a cache that does not look at the data",
        "finetune/data/cache.py",
        '        "data": data,\n',
        "",
        PREPARE,
    ),
    Fault(
        "a cache that takes what is cut off",
        "finetune/data/prepared.py",
        '!= facts["bytes"]:',
        "< 0:",
        PREPARE,
    ),
    Fault(
        "a learned token lost where a row is stored",
        "finetune/data/growing.py",
        "tokens[start:end] |= LEARNED\n        lengths",
        "tokens[start + 1 : end] |= LEARNED\n        lengths",
        PREPARE,
    ),
    Fault(
        "a JSON name that stands twice, of which one counts",
        "finetune/data/raw.py",
        "if len(made) != len(pairs):",
        "if len(made) > len(pairs):",
        "test_bad_data",
    ),
    Fault(
        "a packed row that is longer than its model reads",
        "finetune/data/packing.py",
        "            free -= length\n",
        "",
        PACKING,
    ),
    Fault(
        "positions of a packed row that are not its documents'",
        "finetune/data/prepared.py",
        "made.lengths[inside]))",
        "numpy.sort(made.lengths[inside])))",
        PACKING,
    ),
    Fault(
        "a model that mixes documents, not tried",
        "finetune/tried.py",
        "if packs_rows(trainer.args)",
        "if not trainer.args",
        PACKING,
    ),
    Fault(
        "a tool call that the template does not write, learned as an empty answer",
        "finetune/rendering/conversation.py",
        "unwritten = self._unwritten.of(conversation)",
        "unwritten = ()",
        "test_turns_of_templates",
    ),
    Fault(
        "a mark before the end of sequence taken for the end",
        "finetune/rendering/turn_end.py",
        "for found, wanted in ((marks, sure), (both, ends), (tail, sure)):",
        "for found, wanted in ((both, ends), (tail, sure)):",
        "test_turns_of_templates",
    ),
    Fault(
        "an old run deleted before the new one stands",
        "finetune/rundir.py",
        "            path.rename(replaced)",
        "            shutil.rmtree(path)\n            replaced.mkdir()",
        RUNS,
    ),
)


def copied(root: Path, target: Path) -> None:
    files = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(root / name, target / name)


def noticed_by(fault: Fault, folder: Path) -> list[str]:
    """The names of the tests that fail with this fault in the copy."""
    path = folder / fault.file
    whole = path.read_text()
    assert whole.count(fault.old) == 1, (
        f"{fault.name}: `{fault.old}` stands {whole.count(fault.old)} times in {fault.file}"
    )
    path.write_text(whole.replace(fault.old, fault.new))
    try:
        environment = os.environ | {"PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-m", "pytest", f"tests/{fault.tests}.py", "-x", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    finally:
        path.write_text(whole)
    return re.findall(r"^(?:FAILED|ERROR) \S+?::(\S+)", done.stdout, re.MULTILINE)


def main() -> int:
    unnoticed = 0
    print("| fault | where | noticed by |\n|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copied(Path.cwd(), folder)
        chosen = [fault for fault in FAULTS if fault.tests in sys.argv[1:] or not sys.argv[1:]]
        for fault in chosen:
            failed = noticed_by(fault, folder)
            unnoticed += not failed
            by = f"`{failed[0]}`" if failed else "**nothing**"
            print(f"| {fault.name} | `{fault.file}` | {by} |", flush=True)
    print(f"\n{len(chosen) - unnoticed} of {len(chosen)} faults turn the suite red.")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
