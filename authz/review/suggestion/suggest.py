"""Suggests a narrower policy from audit logs: rules unused, wider than their use, or missing.

The result is text to review: YAML with comments that count the uses and name the place.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

from authz.config import Config
from authz.core.extras import missing_extra
from authz.core.hosts import covers, is_domain_pattern
from authz.core.patterns import REST, path_pattern
from authz.core.policy.rules import Rule
from authz.review.audit_files import AuditLogs
from authz.review.audit_records import OwnLines, read_records
from authz.review.call_usage import key_line, never_called
from authz.review.suggestion.missing_rules import Evidence, Holder, MissingRules, ProposedRule
from authz.review.suggestion.rule_usage import RuleUsage, RuleUse
from authz.review.suggestion.used_operation import ID, ID_TEXT, UsedOperation


@dataclass(frozen=True, slots=True)
class Suggestions:
    """The suggestions.

    Attributes:
        records: how many records were read.
        lines: all suggestions, as YAML with comments.
        narrower: the keys to narrow with their new lists, by the place of the rule (grant, number).
        missing: the missing rules, as the lines of a file to include.
        held: the grants of that file that an agent needs, by the number of its entry of agents.
    """

    records: int
    lines: tuple[str, ...]
    narrower: Mapping[tuple[str, int], Mapping[str, list[str]]]
    missing: tuple[str, ...]
    held: Mapping[int, list[str]]


def suggest(config: Config, logs: AuditLogs, *, denied: bool) -> Suggestions:
    """Suggest changes to a config from audit logs. Raises LogError.

    Missing rules come from requests that only policy in shadow would have refused; or, with
    ``denied``, from those that policy refused.
    """
    evidence = RuleUsage(config, denied=denied)
    own = OwnLines()
    for _, _, read in read_records(logs, own):
        evidence.take(read)
    lines = [
        f"# From {evidence.records} records; {evidence.bad} invalid lines. For review:",
        "# a rule that was not used in this period may be needed in another.",
        *(f"# {told}" for told in own.told()),
    ]
    if evidence.redacted:
        lines += [
            f"# {evidence.redacted} records are redacted (audit.redact): their rules count as",
            "# used, and nothing is narrowed or proposed from them.",
        ]
    narrower: dict[tuple[str, int], Mapping[str, list[str]]] = {}
    for grant, rules in evidence.rules.items():
        for number, rule in enumerate(rules):
            use = evidence.uses.get(rule.name)
            if use is None:
                lines.append(f"# {rule.name}: never used; remove it?")
                continue
            if keys := _narrower_keys(rule, evidence.with_needed(rule.name)):
                narrower[grant, number] = keys
                lines += _of_rule(rule, use, keys)
            lines += _never_called(rule, use)
    named = _named(list(evidence.missing.proposed()), set(config.grants))
    numbers = {agent.id: number for number, agent in enumerate(config.agents)}
    by_agent: defaultdict[str, list[str]] = defaultdict(list)
    for name, (holder, _, _) in named.items():
        if holder.agent_lacks:
            by_agent[holder.agent].append(name)
    held = {numbers[agent]: names for agent, names in by_agent.items() if agent in numbers}
    new = {agent: names for agent, names in by_agent.items() if agent not in numbers}
    missing = tuple(_of_missing(named, new))
    lines += _not_proposed(evidence.missing)
    if named:
        lines.append("# Missing: a file to include, which allows the refused requests.")
    lines += [
        f"# Add to the grants of the agent {config.agents[number].id}: {', '.join(names)}"
        for number, names in held.items()
    ]
    return Suggestions(evidence.records, (*lines, *missing), narrower, missing, held)


def _narrower_keys(rule: Rule, use: RuleUse) -> dict[str, list[str]]:
    """Return the keys of a rule that are wider than its use, each with the used items."""
    if rule.is_deny or use.is_varied:
        return {}
    written = rule.settings
    seen = {
        "hosts": (_narrower_hosts(written.hosts, use.targets), written.hosts),
        "methods": (sorted({target.method for target in use.targets}), written.methods),
        "paths": (_narrower(written.paths, use.targets), written.paths),
    }
    return {key: used for key, (used, now) in seen.items() if set(used) != set(now)}


def _of_rule(rule: Rule, use: RuleUse, keys: Mapping[str, list[str]]) -> Iterator[str]:
    yield f"# {rule.name}: wider than its {use.count} uses; narrower, within the same grant:"
    for key, used in keys.items():
        yield f"#     {key}: {yaml_list(used)}"


def _never_called(rule: Rule, use: RuleUse) -> Iterator[str]:
    """Yield comments on names in a rule on messages that nobody called."""
    calls = [target.call for target in use.targets if target.call is not None]
    if not use.is_varied:
        yield from (f"# {rule.name}: {text}" for text in never_called(rule.settings, calls))


def _narrower_hosts(patterns: Iterable[str], targets: Iterable[UsedOperation]) -> list[str]:
    """Return the hosts that were used; patterns for one label, such as a tenant, stay as they are.

    The same holds for ``{id}`` in paths: other values are as legitimate as those that were seen.
    """
    seen = {target.host for target in targets}
    kept = [one for one in patterns if is_domain_pattern(one) and not one.startswith(REST)]
    used = {one for one in kept if any(covers(one, host) for host in seen)}
    return sorted(used | {host for host in seen if not any(covers(one, host) for one in used)})


def _narrower(patterns: Iterable[str], targets: Iterable[UsedOperation]) -> list[str]:
    """Return the patterns that were used; for a pattern that ends in ** the paths used below it."""
    seen = {target.path for target in targets}
    found = {_narrowed(text, path) for text in patterns for path in seen}
    return sorted(path for path in found if path is not None)


def _narrowed(text: str, path: str) -> str | None:
    """Narrow a pattern to a path, None if the path does not match. Never widens the pattern."""
    pattern, seen = path_pattern(text), path_pattern(path).segments
    wanted = pattern.segments[: len(seen)]
    sample = [  # {id} stands for the ID that the pattern names, if it names an ID
        (want if want is not None and ID.fullmatch(want) else ID_TEXT)
        if segment is None
        else segment
        for segment, want in zip_longest(seen, wanted)
    ]
    if not pattern.matches(tuple(sample)):
        return None
    if not pattern.rest:
        return text
    count = len(pattern.segments)
    return "/" + "/".join([*text[1:].split("/")[:count], *path[1:].split("/")[count:]])


Missing = tuple[Holder, Evidence, list[ProposedRule]]


def _named(missing: Sequence[Missing], taken: set[str]) -> dict[str, Missing]:
    """Name a new grant for the rules that each holder lacks."""
    numbers = (number for number in range(1, len(missing) + len(taken) + 1))
    names = (name for number in numbers if (name := f"suggested-{number}") not in taken)
    return dict(zip(names, missing, strict=False))


def _not_proposed(missing: MissingRules) -> Iterator[str]:
    """Yield comments on refused requests that no rule is proposed for."""
    for name, count in sorted(missing.limited.items()):
        yield f"# Refused by what {name} requires: {count}. No rule is proposed that evades it."
    if missing.unlimitable:
        what = "to limit them to their evidence takes a condition; conditions need"
        yield f"# Not proposed: {missing.unlimitable} rules; {missing_extra('cel', what)}"


def _of_missing(named: Mapping[str, Missing], agents: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Yield the file to include, which adds these agents and allows what was refused."""
    if not named:
        return
    yield from ["agents:"] if agents else []
    for agent, grants in agents.items():
        yield f"  - {{id: {_quoted(agent)}, grants: [{', '.join(grants)}]}}"
    lacking = {name: holder for name, (holder, _, _) in named.items() if holder.principal_lacks}
    yield from ["principals:"] if lacking else []
    for name, holder in lacking.items():
        match = f"{{issuer: {_quoted(holder.issuer)}, subjects: {yaml_list([holder.principal])}}}"
        yield f"  - {{match: {match}, agents: {yaml_list([holder.agent])}, grants: [{name}]}}"
    yield "grants:"
    for name, (_, evidence, rules) in named.items():
        more = " and more kinds" if evidence.is_varied else ""
        noun = "request" if evidence.count == 1 else "requests"
        yield f"  {name}:  # {evidence.count} {noun}{more}"
        for rule in rules:
            yield from _of_proposed(rule)


def _of_proposed(rule: ProposedRule) -> Iterator[str]:
    yield f"    - hosts: {yaml_list([rule.host])}"
    yield f"      methods: {yaml_list([rule.method])}"
    some = "  # of each {id} several were seen" if ID_TEXT in "".join(rule.paths) else ""
    yield f"      paths: {yaml_list(rule.paths)}{some}"
    none = "" if rule.scopes else "  # their tokens had no scope"
    yield f"      scopes: {yaml_list(rule.scopes)}{none}"
    none = "" if rule.via else "  # there was no earlier actor"
    yield f"      via: {yaml_list(rule.via)}{none}"
    if rule.when:
        yield f"      when: {_quoted(rule.when)}  # others could use the agent's rule"
    if rule.protocol:
        yield f"      {key_line(rule.protocol, rule.calls)}"


def yaml_list(texts: Iterable[str]) -> str:
    """Write a list of texts as YAML, in one line."""
    return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    """Quote a text as YAML and JSON both read it: without surrogate pairs, which YAML lacks."""
    return json.dumps(text, ensure_ascii=False)
