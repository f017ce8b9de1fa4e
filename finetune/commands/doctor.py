"""`finetune doctor`: what is installed, what works, what to install; or the versions that were tested together."""

import argparse

HELP = "what is installed, what works, what to install"
USE = (
    ("finetune doctor", HELP),
    ("finetune doctor --constraints", "the versions that were tested together, for pip install -c"),
)
LONG = True


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--constraints", action="store_true", help="print the tested set of versions, for pip install -c FILE"
    )


def run(parsed: argparse.Namespace) -> int:
    if parsed.constraints:
        from finetune.recipe.shipped import tested_set

        print(tested_set(), end="")
        return 0
    from finetune.doctor import doctor

    return doctor()
