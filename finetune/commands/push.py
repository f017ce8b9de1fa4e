"""`finetune push RUN REPO`: publish a run on the hub, with a model card. Says what is sent; a dry run sends nothing."""

import argparse
from pathlib import Path

HELP = "publish a run on the hub, with a model card"
USE = (("finetune push RUN_DIR [OWNER/NAME] [--what merged] [--dry-run]", "publish on the hub, with a model card"),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("repo", nargs="?", metavar="OWNER/NAME", help="default: the recipe's hub_model_id")
    parser.add_argument(
        "--what",
        choices=("adapter", "merged", "gguf", "ollama", "vllm", "tgi"),
        help="the adapter, or the folder of an export (default: what was trained)",
    )
    parser.add_argument("--base", metavar="OWNER/NAME", help="what the hub calls a base model that is a folder here")
    parser.add_argument("--license", metavar="ID", help="the licence's name on the hub; default: the base model's")
    parser.add_argument("--public", action="store_true", help="for everybody; a new repository is private without it")
    parser.add_argument("--dry-run", action="store_true", help="write what would be sent to RUN_DIR/push, send nothing")


def run(parsed: argparse.Namespace) -> int:
    from finetune.exporting.finished import finished_run
    from finetune.exporting.hub import Order, pack, preview, send
    from finetune.exporting.naming import named

    found = finished_run(parsed.run)
    repo = parsed.repo or named(found.plan)
    package = pack(found, Order(repo, parsed.what, parsed.license, parsed.public, parsed.base))
    for name, size in package.sizes().items():
        print(f"{size:>14,}  {name}")
    if package.changed:
        print(f"without the paths of this machine: {', '.join(package.changed)}")
    who = "private" if package.private else "public"
    if parsed.dry_run:
        print(f"nothing was sent; {preview(package, found)} holds what would go to {package.repo} ({who})")
        return 0
    print(f"sending to {package.repo} ({who})")
    print(send(package))
    return 0
