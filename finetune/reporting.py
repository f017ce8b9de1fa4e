"""Findings as text for other programs (JSON, GitHub's workflow commands, SARIF), and the page that explains the codes.
Judges nothing, reads nothing and prints nothing: faults in, text out."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from finetune import __version__
from finetune.codes import CODES, Code
from finetune.errors import Fault

UNCODED = "FT000"
"""The rule of a finding that has no code of its own; SARIF wants one for each result."""
RULES: Mapping[str, Code] = {
    UNCODED: Code(
        "error",
        "a finding without a code of its own",
        "The message says what is wrong and how to mend it. It stands under this number because SARIF wants one for "
        "each finding.",
    ),
    **CODES,
}
LASTING = (UNCODED, "FT024")
"""Codes below error that a recipe cannot silence either."""


@dataclass(frozen=True)
class Report:
    """What was found in one recipe. `path`: as it was named; `valid`: whether the call lets it pass."""

    path: str
    valid: bool
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True)
class Findings:
    """What one call found. `general`: faults that are about no recipe. `here`: the folder that paths were named from;
    `root`: the one that they are shown relative to. `docs`: where the page of the codes lies."""

    reports: tuple[Report, ...]
    general: tuple[Fault, ...]
    exit_code: int
    here: str
    root: str
    docs: str

    def placed(self) -> Iterator[tuple[str, Fault]]:
        """(file, fault), each once: recipes that share a file share its faults."""
        seen = set()
        for report in self.reports:
            for fault in report.faults:
                file = fault.where.file if fault.where else report.path
                if (file, fault) not in seen:
                    seen.add((file, fault))
                    yield file, fault

    def shown(self, file: str) -> str:
        """A path below root relative to it, with slashes; any other path whole."""
        whole = os.path.normpath(os.path.join(self.here, file))  # noqa: PTH118 - a path may hold what Path refuses
        try:
            relative = os.path.relpath(whole, self.root)
        except ValueError:  # another drive
            relative = os.pardir
        outside = Path(relative).parts[:1] == (os.pardir,)
        return (whole if outside else relative).replace(os.sep, "/")


def rendered(form: str, findings: Findings) -> str:
    """The findings in one of FORMS, ending in a line break."""
    return FORMS[form](findings)


def _json(findings: Findings) -> str:
    recipes = [
        {
            "path": report.path,
            "valid": report.valid,
            "faults": [_plain_fault(fault, report.path) for fault in report.faults],
        }
        for report in findings.reports
    ]
    general = [_plain_fault(fault, None) for fault in findings.general]
    return _dumped(
        {"version": __version__, "exit_code": findings.exit_code, "recipes": recipes, "faults": general},
    )


def _plain_fault(fault: Fault, path: str | None) -> dict[str, Any]:
    """null for what is not known: no line means the file as a whole."""
    where = fault.where
    return {
        "code": fault.code,
        "severity": fault.severity,
        "message": fault.message,
        "file": where.file if where else path,
        "line": (where.line or None) if where else None,
        "column": (where.column or None) if where else None,
    }


def _github(findings: Findings) -> str:
    lines = [_command(fault, "", "finetune") for fault in findings.general]
    for file, fault in findings.placed():
        shown = findings.shown(file)
        place = {"file": shown}
        if fault.where and fault.where.line:
            place |= {"line": str(fault.where.line), "col": str(fault.where.column)}
        # The log of a job shows the message alone, so that the place stands in it as well.
        lines.append(_command(fault, ":".join(place.values()) + ": ", _title(fault), **place))
    if findings.reports:
        valid = sum(report.valid for report in findings.reports)
        lines.append(f"{valid} of {len(findings.reports)} recipes are valid")
    return "".join(f"{line}\n" for line in lines)


def _command(fault: Fault, opening: str, title: str, **place: str) -> str:
    name = {"error": "error", "warning": "warning"}.get(fault.severity, "notice")
    properties = ",".join(f"{key}={_property(value)}" for key, value in {**place, "title": title}.items())
    return f"::{name} {properties}::{_data(opening + fault.message)}"


def command(severity: str, message: str, title: str, place: Mapping[str, str]) -> str:
    """A workflow command of GitHub's that is about no recipe's text."""
    return _command(Fault(message, severity=severity), "", title, **place)


def _title(fault: Fault) -> str:
    return f"{fault.code} {CODES[fault.code].title}" if fault.code in CODES else "finetune"


def _data(text: str) -> str:
    """% first: the other two write one. A name that is not UTF-8 cannot be printed as it is."""
    printable = text.encode("utf-8", "backslashreplace").decode()
    return printable.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def _sarif(findings: Findings) -> str:
    driver = {
        "name": "finetune",
        "semanticVersion": __version__,
        "rules": [_rule(name, code, findings.docs) for name, code in RULES.items()],
    }
    invocation: dict[str, Any] = {"executionSuccessful": not findings.general, "exitCode": findings.exit_code}
    if findings.general:
        # What is wrong with the call is no result: it points into no file.
        invocation["toolConfigurationNotifications"] = [
            {"level": fault.severity, "message": {"text": fault.message}} for fault in findings.general
        ]
    run = {
        "tool": {"driver": driver},
        "invocations": [invocation],
        "columnKind": "unicodeCodePoints",
        "results": [_result(file, fault, findings) for file, fault in findings.placed()],
    }
    return _dumped(
        {"$schema": "https://json.schemastore.org/sarif-2.1.0.json", "version": "2.1.0", "runs": [run]},
    )


def _rule(name: str, code: Code, docs: str) -> dict[str, Any]:
    return {
        "id": name,
        "shortDescription": {"text": code.title},
        "fullDescription": {"text": code.text},
        "help": {"text": code.text, "markdown": f"{code.text}\n\n{_silencing(name, code)}"},
        "helpUri": f"{docs}#{name.lower()}",
        "defaultConfiguration": {"level": code.severity},
    }


def _result(file: str, fault: Fault, findings: Findings) -> dict[str, Any]:
    rule = fault.code if fault.code in CODES else UNCODED
    physical: dict[str, Any] = {"artifactLocation": _artifact(findings.shown(file))}
    if fault.where and fault.where.line:
        physical["region"] = {"startLine": fault.where.line, "startColumn": max(fault.where.column, 1)}
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": fault.severity,
        "message": {"text": fault.message},
        "locations": [{"physicalLocation": physical}],
    }


def _artifact(shown: str) -> dict[str, str]:
    """%SRCROOT% is the root of the checkout, wherever the reader has it; a file outside it has a whole address."""
    uri = quote(os.fsencode(shown))
    if os.path.isabs(shown):  # noqa: PTH117
        return {"uri": "file://" + ("" if uri.startswith("/") else "/") + uri}
    return {"uri": uri, "uriBaseId": "%SRCROOT%"}


def _dumped(value: Any) -> str:
    """ASCII, so that no terminal and no file encoding can break it."""
    import json

    return json.dumps(value, indent=2) + "\n"


FORMS: Mapping[str, Callable[[Findings], str]] = {"json": _json, "github": _github, "sarif": _sarif}


def codes_page() -> str:
    """docs/codes.md: a section for each code, with the anchor that helpUri names."""
    from textwrap import fill

    page = _OPENING
    for name, code in RULES.items():
        text = fill(f"Severity: **{code.severity}**. {code.text}", 120, break_long_words=False, break_on_hyphens=False)
        page += f'\n<a id="{name.lower()}"></a>\n\n## {name} {code.title}\n\n{text}\n\n{_silencing(name, code)}\n'
    return page


_OPENING = """# Codes

What `finetune validate` says about a recipe ends in a code in square brackets; this page explains each. An **error**
makes the exit code 3, a **warning** does so with `--strict`, a **note** never does.

A warning or note that you have weighed is silenced in the recipe, by its code and with your reason:

```yaml
silence:
  FT012: "a full fine-tune of a 4 MB model learns well at 1e-3"
```

This page is written by `make docs`.
"""


def _silencing(name: str, code: Code) -> str:
    if code.severity == "error":
        return "An error cannot be silenced: mend the recipe."
    if name in LASTING:
        return "It cannot be silenced: mend the recipe."
    return f'To silence it, give your reason: `silence: {{{name}: "why"}}`.'
