"""`finetune plan`: every library call a run would make, as text or JSON. Makes none of them."""

import argparse
import json
from pathlib import Path

from finetune.commands.checking import gpu_count, planned_machine, print_faults, resolved
from finetune.commands.freezing import frozen_options, held
from finetune.commands.memory import memory_of

HELP = "show every call a run would make"
USE = (
    (
        "finetune plan RECIPE [--gpu 24GB|H100] [--json]",
        "every library call a run would make, and its memory, without a GPU",
    ),
)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--gpu", metavar="GB|NAME", help="plan for GPUs of this size or name instead of this machine")
    parser.add_argument("--nproc", metavar="N", help="plan for N processes, one for each GPU; `all`: as many as GPUs")
    frozen_options(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument("--all", action="store_true", help="also the trainer's arguments at their defaults")


def run(parsed: argparse.Namespace) -> int:
    from finetune.recipe.load import load_recipe

    checked = load_recipe(parsed.recipe, parsed.overrides)
    machine = planned_machine(parsed.gpu, gpu_count(parsed.nproc))
    hold = held(parsed, checked)
    plan = hold.plan(resolved(hold.checked, machine))
    memory = memory_of(checked, plan, machine)
    print_faults(checked.heard((*checked.notes, *memory.faults)))
    if parsed.json:
        print(json.dumps(plan.as_json() | {"memory": memory.as_json}, indent=2, ensure_ascii=False))
        return 0
    for note in (*plan.notes, *memory.lines):
        print(f"# {note}")
    for blocker in plan.blockers:
        print(f"# this machine cannot run it: {blocker}")
    for stage, call in plan.each():
        print(f"\n[{stage}] {call.target}")
        frozen: frozenset[str] = frozenset() if parsed.all else call.frozen
        for name, value in call.arguments.items():
            if name not in frozen:
                print(f"    {name} = {json.dumps(value, ensure_ascii=False)}")
        for name in call.runtime:
            print(f"    {name} = <made while running>")
        if frozen:
            version = checked.recipe.recipe_version
            print(f"    and {len(frozen)} more that no key reaches, as recipe_version {version} froze them (--all)")
    return 0
