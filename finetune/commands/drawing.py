"""Options of the commands that answer: how answers are drawn, where that is not to be as the recipe says."""

import argparse
from typing import Any

OPTIONS = {
    "temperature": (float, "0: always the most likely token"),
    "top_p": (float, "draw among the most likely tokens that together have this probability"),
    "top_k": (int, "draw among this many most likely tokens"),
    "min_p": (float, "draw among tokens at least this share as likely as the likeliest"),
    "repetition_penalty": (float, "above 1: what was said becomes less likely"),
    "max_new_tokens": (int, "tokens of an answer at most"),
    "seed": (int, "where chance begins"),
}


def drawing_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("how answers are drawn, where not as the recipe says")
    for name, (kind, says) in OPTIONS.items():
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, metavar=kind.__name__.upper(), help=says)
    group.add_argument("--stop", action="append", metavar="TEXT", help="end before this text; may be repeated")


def drawn(parsed: argparse.Namespace) -> dict[str, Any]:
    """What was given."""
    given = {name: getattr(parsed, name) for name in (*OPTIONS, "stop")}
    return {name: value for name, value in given.items() if value is not None}
