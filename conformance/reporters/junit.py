"""Writes junit.xml for CI systems: a behaviour is a test case.

The properties of a behaviour are among the properties of the suite, with its id as a prefix, because the schema that
Jenkins uses has no properties of test cases.
"""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

from conformance.reporters import terminal
from conformance.results.causes import cause_ids
from conformance.results.result import Status

if TYPE_CHECKING:
    from conformance.results.report import Report
    from conformance.results.result import Result
    from conformance.results.waivers import Waived


def render(report: Report) -> str:
    """Returns the report as JUnit XML."""
    counts = {status: len(report.with_status(status)) for status in Status}
    failed = report.figures.failed_checks if report.figures is not None else ()
    broken = [each for each in report.waivers if each.state.broken]
    waived = Counter(result.status for result in report.results if result.id in report.waived)
    failures = counts[Status.FAILED] - waived[Status.FAILED]
    numbers: dict[str, Any] = {
        "tests": str(len(report.results) + len(report.lacking) + len(broken) + len(failed)),
        "failures": str(failures + len(report.lacking) + len(broken) + len(failed)),
        "errors": str(counts[Status.ERROR] - waived[Status.ERROR]),
        "time": f"{report.time.wall:.3f}",
    }
    root = ET.Element("testsuites", name="conformance", **numbers)
    skipped = str(counts[Status.SKIPPED] + waived[Status.FAILED] + waived[Status.ERROR])
    suite = ET.SubElement(root, "testsuite", name=_clean(report.target), skipped=skipped, **numbers)
    if report.started:
        suite.set("timestamp", datetime.fromisoformat(report.started).replace(tzinfo=None).isoformat())
    cause_of = cause_ids(report.results)
    properties = ET.SubElement(suite, "properties")
    values = {"verdict": report.verdict_line, "seed": str(report.seed), "kit": report.version}
    for result in report.results:
        values |= {
            f"{result.id}.{name}": value for name, value in _properties(report, result, cause_of.get(result.id)).items()
        }
    for name, value in values.items():
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    for name in report.lacking:
        case = ET.SubElement(suite, "testcase", classname="conformance.require", name=_clean(name))
        ET.SubElement(
            case, "failure", type="require", message=_clean(f"the target does not have {name}, required by --require")
        )
    for each in broken:
        case = ET.SubElement(suite, "testcase", classname="conformance.waivers", name=_clean(f"waiver of {each.id}"))
        ET.SubElement(case, "failure", type="waiver", message=_clean(f"{each.state}: {each.detail}"))
    for check in failed:
        case = ET.SubElement(suite, "testcase", classname=f"conformance.{check.kind}", name=_clean(check.name))
        ET.SubElement(case, "failure", type=check.kind, message=_clean(check.message))
    for result in report.results:
        suite.append(_case(result, report.waived.get(result.id)))
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _properties(report: Report, result: Result, cause: str | None) -> dict[str, str]:
    entry = result.entry
    values = {"clause": entry.clause.id, "level": entry.level.value, "status": result.status.value}
    if cause:
        values["cause"] = cause
    if result.id in report.waived:
        values["waived"] = report.waived[result.id].waiver.terms
    return values


def _case(result: Result, waived: Waived | None) -> ET.Element:
    """Returns a behaviour as a test case. A waived failure is skipped: JUnit has no status for an expected failure."""
    entry = result.entry
    case = ET.Element(
        "testcase",
        classname=f"conformance.{entry.area}.{entry.clause.id}",
        name=_clean(f"{entry.id} {entry.title}"),
        time=f"{result.seconds:.3f}",
    )
    match result.status:
        case Status.FAILED if waived is not None:
            ET.SubElement(case, "skipped", message=_clean(f"failed, waived {waived.waiver.terms}"))
            ET.SubElement(case, "system-out").text = _clean("\n".join(terminal.evidence(result, waived)))
        case Status.FAILED:
            child = ET.SubElement(case, "failure", type=entry.clause.id, message=_clean(result.reason))
            child.text = _clean("\n".join(terminal.evidence(result)))
        case Status.ERROR if waived is not None:
            message = f"not judged, waived {waived.waiver.terms}: {result.reason}"
            ET.SubElement(case, "skipped", message=_clean(message))
        case Status.ERROR:
            ET.SubElement(case, "error", type="not judged", message=_clean(result.reason))
        case Status.SKIPPED:
            ET.SubElement(case, "skipped", message=_clean(result.reason))
        case Status.WARNED:
            ET.SubElement(case, "system-out").text = _clean("warning\n" + "\n".join(terminal.evidence(result)))
        case Status.PASSED:
            pass
    return case


def _clean(text: str) -> str:
    """Returns text that XML can contain: a provider may send any character."""
    return "".join(c if c in "\t\n" or (c.isprintable() and ord(c) < 0xFFFE) or c == " " else "�" for c in text)
