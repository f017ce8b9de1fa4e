"""The command line: which command a line means, what it prints on failure and the exit code. Decides nothing else."""

import argparse
import gc
import sys
from collections.abc import Sequence
from pathlib import Path

from finetune import __version__
from finetune.commands import COMMANDS
from finetune.commands.checking import print_faults
from finetune.errors import EXIT_CODES, FinetuneError, UsageError


def _parser() -> argparse.ArgumentParser:
    uses = [line for command in COMMANDS.values() for line in command.USE]
    shown = "\n".join(
        f"  {typed:52} {says}" if len(typed) <= 52 else f"  {typed}\n  {'':52} {says}" for typed, says in uses
    )
    codes = "\n".join(f"  {code:>3}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser = argparse.ArgumentParser(
        prog="finetune",
        description=f"Fine-tune a language model from one YAML recipe.\n\n{shown}",
        epilog=f"exit codes:\n{codes}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"finetune {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, command in COMMANDS.items():
        command.arguments(commands.add_parser(name, help=command.HELP))
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is one of EXIT_CODES. A user's mistake never shows a traceback."""
    gc.disable()  # a fifth of a short command is the collector looking at freshly imported classes
    arguments = list(sys.argv[1:] if argv is None else argv)
    first = next((word for word in arguments if not word.startswith("-")), None)
    if first is not None and first not in COMMANDS:
        meant = _meant_command(first)
        if meant:
            print(f"finetune: there is no command `{first}`; did you mean `{meant}`?", file=sys.stderr)
            return UsageError.exit_code
        arguments.insert(0, "train")
    parser = _parser()
    parsed, rest = parser.parse_known_args(arguments)
    if rest and getattr(parsed, "key", "") is None and "=" not in rest[0] and not rest[0].startswith("-"):
        parsed.key = rest.pop(0)
    if rest and (not hasattr(parsed, "overrides") or any(word.startswith("-") or "=" not in word for word in rest)):
        parser.error(f"not understood: {' '.join(rest)}")
    if rest:
        parsed.overrides += rest  # argparse does not take positional words again after an option
    command = COMMANDS[parsed.command]
    try:
        if command.LONG:
            gc.enable()
        code: int = command.run(parsed)
        return code
    except FinetuneError as error:
        print_faults(error.faults)
        for note in getattr(error, "__notes__", ()):
            print(note, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt as stop:
        print("stopped at once; nothing was saved after what the run folder holds", file=sys.stderr)
        for note in getattr(stop, "__notes__", ()):
            print(note, file=sys.stderr)
        return 128 + getattr(stop, "number", 2)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output is gone, and Python would complain about flushing to it
        return 0
    finally:
        gc.enable()


def _meant_command(word: str) -> str | None:
    """The command a word is close to, unless it looks like a recipe's path."""
    if "." in word or "/" in word or Path(word).exists():
        return None
    from difflib import get_close_matches

    return next(iter(get_close_matches(word, COMMANDS, n=1, cutoff=0.7)), None)
