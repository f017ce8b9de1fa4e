"""Reports as JUnit's XML, which GitLab, Jenkins and others show beside a change: a suite for each recipe, a case for
each check. Decides nothing."""

import re
from collections.abc import Sequence
from xml.etree import ElementTree

from finetune.proving.lines import FAILED, SKIPPED, WARNED, Report

NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold."""


def as_junit(reports: Sequence[Report]) -> str:
    whole = ElementTree.Element("testsuites", name="finetune prove")
    for report in reports:
        against = (FAILED, WARNED) if report.strict else (FAILED,)
        states = [FAILED if line.state in against else line.state for line in report.lines]
        counts = {"tests": len(states), "failures": states.count(FAILED), "skipped": states.count(SKIPPED), "errors": 0}
        about = {"name": report.path, "time": f"{report.seconds:.1f}"} | {name: str(n) for name, n in counts.items()}
        suite = ElementTree.SubElement(whole, "testsuite", about)
        facts = ElementTree.SubElement(suite, "properties")
        for name, fact in report.facts.items():
            ElementTree.SubElement(facts, "property", name=name, value=_clean(fact))
        for line, state in zip(report.lines, states, strict=True):
            case = ElementTree.SubElement(suite, "testcase", classname=report.path, name=line.check, file=report.path)
            kind = {FAILED: "failure", SKIPPED: "skipped"}.get(state)
            if kind:
                ElementTree.SubElement(case, kind, message=_clean(line.said))
            else:
                ElementTree.SubElement(case, "system-out").text = _clean(line.said)
    ElementTree.indent(whole)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(whole, encoding="unicode") + "\n"


def _clean(text: str) -> str:
    return NO_XML.sub("�", text)
