"""Break the code on purpose, one fault at a time in a copy of the repository, and see whether the suite goes red.

Run from the repository root, in an environment in which `make test` passes: python scripts/break_on_purpose.py
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
SHARED, EXAMPLES = "finetune/methods/shared.py", "finetune/rendering/examples.py"

FAULTS = (
    Fault("a dropped key", SHARED, '        "weight_decay": section.weight_decay,\n', "", LAW_1),
    Fault("a hard-coded value", "finetune/adapters/lora.py", "section.lora_alpha", "16", LAW_1),
    Fault("a key that reaches another stage too", SHARED, "section.adam_epsilon", "section.adam_beta1 * 1e-8", LAW_1),
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
        EXAMPLES,
        "offsets[place][1] <= start",
        "offsets[place][1] < start",
        CONTRACT,
    ),
    Fault(
        "a missing end token",
        "finetune/rendering/conversation.py",
        "spans.append((start, end + len(turn_end.text)))",
        "spans.append((start, end))",
        CONTRACT,
    ),
    Fault(
        "an unlearned end of an instruction row",
        EXAMPLES,
        "(tokenizer.eos_token, True)",
        "(tokenizer.eos_token, False)",
        CONTRACT,
    ),
    Fault(
        "labels made from padding",
        EXAMPLES,
        "            yield row, Example(ids, labels)",
        "            pad = work.tokenizer.pad_token_id\n"
        "            kept = [IGNORED if token == pad else label for token, label in zip(ids, labels)]\n"
        "            yield row, Example(ids, kept)",
        CONTRACT,
    ),
    Fault(
        "a doubled begin token",
        EXAMPLES,
        "[text for _, text, _ in texts], add_special_tokens=False",
        "[text for _, text, _ in texts], add_special_tokens=True",
        CONTRACT,
    ),
    Fault(
        "a stop token that generation is not told of",
        EXAMPLES,
        "ends = {tokenizer.eos_token_id} | ({work.turn_end.token_id} if work.turn_end else set())",
        "ends = {tokenizer.eos_token_id}",
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
        "finetune/data/split.py",
        "digests = [row.digest() for row in rows]",
        'digests = [f"{number * 2654435761 % 2**64:016x}" for number, row in enumerate(rows)]',
        DATA,
    ),
    Fault(
        "a packed row that loses an example",
        "finetune/data/packing.py",
        "rows[row].append(examples[number])",
        "pass",
        DATA,
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
        command = [sys.executable, "-m", "pytest", f"tests/{fault.tests}.py", "-x", "-p", "no:cacheprovider"]
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
        for fault in FAULTS:
            failed = noticed_by(fault, folder)
            unnoticed += not failed
            by = f"`{failed[0]}`" if failed else "**nothing**"
            print(f"| {fault.name} | `{fault.file}` | {by} |", flush=True)
    print(f"\n{len(FAULTS) - unnoticed} of {len(FAULTS)} faults turn the suite red.")
    return int(unnoticed > 0)


if __name__ == "__main__":
    sys.exit(main())
