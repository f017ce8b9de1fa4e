"""`finetune chat`: talk to what a run trained."""

import argparse
from pathlib import Path

from finetune.commands.drawing import drawing_options, drawn

HELP = "talk to what a run trained"
USE = (
    ("finetune chat RUN_DIR|RECIPE [--prompt TEXT]", "talk to what was trained"),
    ("finetune chat RUN_DIR --compare", "with the base model's answer beside each"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_DIR|RECIPE")
    parser.add_argument("--prompt", help="answer this and exit; -: what is piped in")
    parser.add_argument("--system", default="", metavar="TEXT", help="the system message")
    parser.add_argument("--compare", action="store_true", help="show the base model's answer beside each")
    parser.add_argument("--raw", action="store_true", help="show special tokens, and the prompt as the model reads it")
    drawing_options(parser)


def run(parsed: argparse.Namespace) -> int:
    from finetune.chat import Wish, chat
    from finetune.trained import opened

    wish = Wish(parsed.system, parsed.compare, parsed.raw, tuple(drawn(parsed).items()))
    return chat(opened(parsed.run), parsed.prompt, wish)
