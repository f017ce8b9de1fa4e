"""The lines of a proof: one for each check, with its figure, and how a check that cannot be made says why."""

import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from finetune.errors import Fault, FinetuneError
from finetune.proving.replaced import Replacement

PASSED, FAILED, SKIPPED, WARNED = "passed", "FAILED", "skipped", "warning"


@dataclass(frozen=True)
class Line:
    """A check. `said`: its figure or, where it was not made, why."""

    check: str
    state: str
    said: str


@dataclass
class Report:
    """The proof of one recipe. `facts`: what it stands on (architecture, tokenizer, data), by name; `exit_code`: of
    what stopped it before anything could be proved, or of the proof; `folder`: where it was made, if that is kept;
    `strict`: warnings count as well."""

    path: str
    lines: list[Line] = field(default_factory=list)
    facts: dict[str, str] = field(default_factory=dict)
    replaced: list[Replacement] = field(default_factory=list)
    seconds: float = 0.0
    exit_code: int = 0
    folder: str = ""
    strict: bool = False

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and not self.failed and not (self.strict and self.warned)

    @property
    def failed(self) -> list[Line]:
        return [line for line in self.lines if line.state == FAILED]

    @property
    def warned(self) -> list[Line]:
        return [line for line in self.lines if line.state == WARNED]

    def add(self, check: str, passed: bool, said: str) -> None:
        self.lines.append(Line(check, PASSED if passed else FAILED, said))

    def skip(self, check: str, why: str) -> None:
        self.lines.append(Line(check, SKIPPED, why))

    def warn(self, check: str, said: str) -> None:
        """What breaks no promise and is hardly meant so."""
        self.lines.append(Line(check, WARNED, said))

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "passed": self.passed,
            "exit_code": self.exit_code,
            "seconds": round(self.seconds, 1),
            "facts": self.facts,
            "replaced": [vars(one) for one in self.replaced],
            "checks": [vars(line) for line in self.lines],
        }


def guarded(report: Report, check: str, reword: Callable[[str], str], make: Callable[[], Any]) -> str:
    """Take a step; a failed line where it is stopped. The traceback of a fault of the program itself, else nothing."""
    try:
        make()
    except FinetuneError as error:
        report.add(check, False, reword("; ".join(map(_placed, error.faults))))
    except Exception as error:  # noqa: BLE001 - what crashes in a proof would crash in the run, and other checks go on
        first = (str(error).strip().splitlines() or [""])[0][:200]
        report.add(check, False, f"the program or a library failed: {type(error).__name__}: {first}")
        return traceback.format_exc()
    return ""


def _placed(fault: Fault) -> str:
    return f"{fault.where}: {fault.message}" if fault.where else fault.message
