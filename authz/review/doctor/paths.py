"""Finds paths that a proxy passes on in a spelling that servers read differently."""

from collections.abc import Iterator

from authz.review.doctor.case import Case, Finding


def path_findings(case: Case) -> Iterator[Finding]:
    """Yield what is wrong with the spelling of paths."""
    accepted = case.route.accept_ambiguous if case.route is not None else ()
    forms = [form for form in case.seen.path_forms if form not in accepted]
    if not forms:
        return
    yield case.warning(
        "path_not_normalised",
        f"a path came in an ambiguous spelling ({', '.join(forms)}), which servers read "
        "differently: it is refused (path_ambiguous)",
        envoy="set normalize_path: true, merge_slashes: true and "
        "path_with_escaped_slashes_action: REJECT_REQUEST",
        istio="set meshConfig.pathNormalization.normalization: DECODE_AND_MERGE_SLASHES",
        envoy_gateway="leave path.disableMergeSlashes off in ClientTrafficPolicy, and set "
        "path.escapedSlashesAction: RejectRequest",
        agentgateway="it does not change paths: let clients send plain ones",
        here="if every server behind the route reads the form alike, list it in accept_ambiguous",
    )
