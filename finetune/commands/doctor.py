"""`finetune doctor`: what is installed, what works, what to install."""

import argparse

HELP = "what is installed, what works, what to install"
USE = (("finetune doctor", HELP),)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(parsed: argparse.Namespace) -> int:
    del parsed
    from finetune.doctor import doctor

    return doctor()
