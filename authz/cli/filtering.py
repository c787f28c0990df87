"""Reads the filters of the verbs that read audit logs, and tells what these passed over."""

import argparse
from collections.abc import Iterator

from authz.cli.common import complain
from authz.config.nearest import nearest
from authz.core.reason import Reason
from authz.review.audit_reading.filters import NAMES, Filters, TextPattern
from authz.review.audit_reading.found import PassedOver

NOTHING_FITS = "no record fits"


def read_filters(options: argparse.Namespace) -> Filters:
    """Return the filters of the arguments, or end with a usage error."""
    _check_reasons(options)
    if options.since and options.until and options.since >= options.until:
        options.misused("--since must be before --until")
    patterns = {name: tuple(map(TextPattern, _texts(options, name))) for name in NAMES}
    given = {name: some for name, some in patterns.items() if some}
    return Filters(given, options.since, options.until)


def is_filtered(options: argparse.Namespace) -> bool:
    """Tell whether any filter was given."""
    return bool(options.since or options.until or any(_texts(options, name) for name in NAMES))


def _texts(options: argparse.Namespace, name: str) -> list[str]:
    given = getattr(options, f"of_{name}", None) or []
    return [given] if isinstance(given, str) else given


def _check_reasons(options: argparse.Namespace) -> None:
    known = [reason.code for reason in Reason]
    for text in _texts(options, "reason"):
        pattern = TextPattern(text)
        if not any(map(pattern.fits, known)):
            options.misused(f"there is no reason {text!r}{nearest(text, known)}")


def tell(passed: PassedOver) -> None:
    """Say on standard error what a person must know of the lines that were passed over."""
    complain(*(f"authz: {line}" for line in passed.lines()))


def tell_nothing_fits(options: argparse.Namespace) -> None:
    """Say that no record fits, and what may be wrong with a filter."""
    complain(f"authz: {'; '.join([NOTHING_FITS, *_hints(options)])}")


def _hints(options: argparse.Namespace) -> Iterator[str]:
    for text in _texts(options, "agent"):
        if "://" not in text and "*" not in text:
            yield f"an agent is a SPIFFE ID: try --agent '*/{text}'"
    for text in _texts(options, "rule"):
        if "/" not in text and "*" not in text:
            yield f"a rule is grant/name: try --rule '{text}/*'"
