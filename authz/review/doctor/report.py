"""Tells what proxies present, and what is wrong with it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import msgspec

from authz.config.printable import one_line
from authz.review.doctor.case import Case, Finding, Severity


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """The kinds of checks, and the findings, the worst first."""

    cases: Sequence[Case]
    findings: Sequence[Finding]

    @property
    def is_fine(self) -> bool:
        """Tell whether nothing is an error."""
        return not any(one.severity is Severity.ERROR for one in self.findings)

    def lines(self) -> Iterator[str]:
        """Yield the lines for a person, safe for a terminal."""
        for case in self.cases:
            yield from map(one_line, _lines_of(case))
            yield ""
        for finding in self.findings:
            yield from map(one_line, finding.lines())
        count = len(self.findings)
        yield "nothing is wrong" if not count else f"{count} finding{'s' if count > 1 else ''}"

    def members(self) -> dict[str, Any]:
        """Return the members for ``--json``."""
        return {
            "fine": self.is_fine,
            "presented": [msgspec.to_builtins(case.kept) for case in self.cases],
            "findings": [finding.members() for finding in self.findings],
        }


def _lines_of(case: Case) -> Iterator[str]:
    seen, kept = case.seen, case.kept
    yield case.about
    by = {"extension": "authz_profile names it", "callers": "its callers list the proxy"}
    yield f"  profile     {seen.profile or '?'}: {by.get(seen.profile_by, 'nothing names another')}"
    decision = f"; the last, at {_time(seen.at)}: {seen.decision}" if seen.decision else ""
    looked = f", {kept.seen} looked at" if kept.seen < kept.decided else ""
    yield f"  checks      {kept.decided} decided{looked}{decision}"
    yield f"  agent       {_agent(case)}"
    yield f"  evidence    {_evidence(case)}"
    yield f"  body        {_body(case)}"
    headers = seen.headers
    yield f"  headers     {headers.count}, {headers.form}: {', '.join(headers.names) or '-'}"
    yield f"  extensions  {', '.join(seen.extensions) or '-'}"
    yield f"  metadata    {', '.join(seen.namespaces) or '-'}"


def _time(at: float) -> str:
    """Return a time as RFC 3339; another program may have answered with any number."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        return "no time"


def _agent(case: Case) -> str:
    identity = case.seen.identity
    return identity.agent or f"refused, {identity.reason}: {identity.detail}"


def _evidence(case: Case) -> str:
    identity = case.seen.identity
    told = [f"source.principal {identity.principal or 'absent'}"]
    told.append(f"source.certificate {identity.certificate}")
    if identity.xfcc is not None:
        uris = ", ".join(uri or "?" for uri in identity.xfcc.uris)
        told.append(f"x-forwarded-client-cert of {identity.xfcc.elements}: {uris or '-'}")
    return "; ".join(told)


def _body(case: Case) -> str:
    body, limit = case.seen.body, case.seen.max_request_bytes
    told = f"{body.bytes} bytes as {body.form}" if body.bytes else "none"
    length = body.content_length
    told += f"; content-length {length if length is not None else 'absent'}"
    if limit:
        return f"{told}; limit {limit}"
    default = case.profile.max_request_bytes if case.profile is not None else None
    return told + ("; no limit named" if default is None else f"; limit {default}, the profile's")
