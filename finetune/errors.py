"""What can go wrong for a user, with the place, the fix and the exit code. Knows nothing of recipes, data or models."""

from dataclasses import dataclass

EXIT_CODES = {
    0: "done",
    1: "a fault of the program itself (a traceback is shown; please report it)",
    2: "the command line could not be understood",
    3: "the recipe is wrong (every fault is listed with file:line:column)",
    4: "the data is wrong or missing (file, row and turn are named)",
    5: "the model or tokenizer could not be loaded, or does not fit the recipe",
    6: "this machine or its installation cannot run the recipe",
    7: "the run folder cannot be written (exists, not writable, disk full)",
    8: "training failed (loss is not a number, out of memory)",
    9: "a proof failed: what was merged or exported is not what was trained (its proof.json says where they differ), "
    "or `finetune prove` found a promise of the recipe broken (the lines marked FAILED)",
    10: "something is not as it was locked (--frozen, lock --check), or a run came to something else (reproduce)",
    129: "stopped because the terminal was closed (SIGHUP); as for 130",
    130: "stopped by Ctrl-C; if training had begun, what was trained is saved and --resume goes on from there",
    143: "stopped by SIGTERM; as for 130",
}


@dataclass(frozen=True, order=True)
class Where:
    """A place in a text file. Lines and columns count from 1; line 0 means the file as a whole."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: what it is and how to mend it, in one or two sentences.

    `code`: one of CODES, under which docs/codes.md explains it; empty for what is not about a recipe's text."""

    message: str
    where: Where | None = None
    severity: str = "error"
    code: str = ""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.severity}: {self.message}" + (f" [{self.code}]" if self.code else "")


class FinetuneError(Exception):
    """A mistake the user can mend. The command line prints its faults and exits with `exit_code`; no traceback."""

    exit_code = 1

    def __init__(self, *faults: Fault | str) -> None:
        self.faults = tuple(fault if isinstance(fault, Fault) else Fault(fault) for fault in faults)
        super().__init__("\n".join(map(str, self.faults)))


class UsageError(FinetuneError):
    exit_code = 2


class RecipeError(FinetuneError):
    exit_code = 3


class DataError(FinetuneError):
    exit_code = 4


class ModelError(FinetuneError):
    exit_code = 5


class MachineError(FinetuneError):
    exit_code = 6


class RunFolderError(FinetuneError):
    exit_code = 7


class TrainingError(FinetuneError):
    exit_code = 8


class ProofError(FinetuneError):
    exit_code = 9


class DriftError(FinetuneError):
    """What would be trained is not what was locked, or a run does not come to what it came to before."""

    exit_code = 10


class RewardError(TrainingError):
    """What rewards answers failed; no change of the training would mend it."""


class NoNumbers(TrainingError):
    """The loss or the gradients of a step are infinite or not a number. `steps`: those that were made before it."""

    def __init__(self, what: str, steps: int) -> None:
        self.steps = steps
        super().__init__(
            f"{what} at step {steps + 1}: the run is stopped. Lower learning_rate, or look for damaged rows"
        )


class Diverged(TrainingError):
    """The loss went up and stayed there. `since`: the step after which it did."""

    def __init__(self, message: str, since: int) -> None:
        self.since = since
        super().__init__(message)
