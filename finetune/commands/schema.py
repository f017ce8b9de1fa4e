"""`finetune schema`: the JSON Schema of a recipe."""

import argparse

HELP = "print the JSON Schema of a recipe"
USE = (("finetune schema > recipe.schema.json", "the JSON Schema of a recipe, for editors and CI"),)
LONG = False


def arguments(parser: argparse.ArgumentParser) -> None:
    del parser


def run(parsed: argparse.Namespace) -> int:
    del parsed
    from finetune.schema import schema_text

    print(schema_text(), end="")
    return 0
