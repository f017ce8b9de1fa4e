"""`finetune chat`: talk to what a run trained."""

import argparse
from pathlib import Path

HELP = "talk to what a run trained"
USE = (("finetune chat outputs/quickstart [--prompt TEXT]", "talk to what was trained"),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR")
    parser.add_argument("--prompt", help="answer this and exit")


def run(parsed: argparse.Namespace) -> int:
    from finetune.chat import chat

    return chat(parsed.run, parsed.prompt)
