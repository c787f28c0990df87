"""Runs h2spec, the conformance tests of HTTP/2 servers, and reads its report."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from support.go_tools import go_tool

# The last release, 2.6.0 of August 2020, is pinned by its commit: its module has no tag that Go
# takes. All of it, with the one strict case.
CASES = 147
_DETAIL = re.compile(r"(<(?:error|failure)>)(.*?)(</(?:error|failure)>)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Report:
    """How many cases ran, and a line for each that failed or was skipped."""

    cases: int
    failures: list[str]
    skipped: list[str]


def run_h2spec(port: int, report: Path, *, timeout_seconds: int = 2) -> Report:
    """Run all cases against a server on 127.0.0.1.

    A case that waits for an answer in vain fails after ``timeout_seconds``. A few wait for nothing
    to come, and always take that long.
    """
    h2spec = go_tool("h2spec", "github.com/summerwind/h2spec/cmd/h2spec")
    command = [str(h2spec), "--strict", "--port", str(port), "--junit-report", str(report)]
    command += ["--timeout", str(timeout_seconds)]
    subprocess.run(command, check=False, capture_output=True, timeout=300)  # 1 if a case failed
    cases = ET.fromstring(_well_formed(report.read_text())).findall(".//testcase")
    return Report(
        len(cases),
        [_line(case) for case in cases if _is(case, "failure") or _is(case, "error")],
        [_line(case) for case in cases if _is(case, "skipped")],
    )


def _well_formed(report: str) -> str:
    """Escape the details of a report: h2spec writes them as they came, with octets of frames."""
    printable = re.sub(r"[^\n\x20-\x7e]", "?", report.partition("?>")[2])
    return _DETAIL.sub(lambda found: f"{found[1]}{escape(found[2])}{found[3]}", printable)


def _is(case: ET.Element, state: str) -> bool:
    return case.find(state) is not None


def _line(case: ET.Element) -> str:
    """Say which case it is, what was expected, and as the last what came."""
    detail = " | ".join("".join(child.itertext()) for child in case).replace("\n", " | ")
    return f"{case.get('package')} {case.get('classname')}: {detail}"
