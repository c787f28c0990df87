"""May they: whose rules count, what each rule misses, and what comes of both sides."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from support.docs_model.approvals import approval_of, asked_of, uses_of
from support.docs_model.asked import Config, Known, Refused, Rule, Spend, seconds
from support.docs_model.budgets import cost_of, spends_of
from support.docs_model.calls import Call
from support.docs_model.conditions import CONDITIONS, NoValueError
from support.docs_model.elsewhere import elsewhere
from support.docs_model.named import names_call
from support.docs_model.paths import host_fits, id_fits, path_fits
from support.docs_model.tokens import is_authenticated

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Side:
    """What the entries of the agent, or of the principal, hold."""

    allows: list[Rule]
    denies: list[Rule]
    is_unrestricted: bool


def check_policy(
    config: Config, known: Known, calls: list[Call | None]
) -> tuple[set[Spend], set[Any]]:
    """Refuse unless both sides allow every call; say what is spent, and what is used up.

    Without a token the agent's side alone allows.
    """
    agents = agent_entries(config, known.agent)
    principals = principal_entries(config, known, "yes")
    perhaps = principal_entries(config, known, "perhaps")
    if reasons := set(standing(config, known, agents, (principals, perhaps), calls)):
        raise Refused(*reasons)  # which of them is told is left open
    sides = [side_of(config, agents)]
    denies = list(sides[0].denies)
    if known.principal is not None:
        principal = side_of(config, principals, perhaps, for_itself=known.is_autonomous)
        denies += principal.denies
        sides += [principal] * known.has_token
    refusals = [reasons for call in calls if (reasons := refusal(sides, denies, known, call))]
    if refusals:
        raise Refused(*set().union(*refusals))  # of several calls any may be told
    found = [spends_of(fitting(sides, known, call), known, call) for call in calls]
    used = [uses_of(fitting(sides, known, call), known, call) for call in calls]
    return set().union(*found), set().union(*used)


def fitting(sides: list[Side], known: Known, call: Call | None) -> Iterator[list[Rule]]:
    """The rules of each side that allow a call."""
    for side in sides:
        about = (rule for rule in side.allows if is_about(rule, known, call))
        yield [rule for rule in about if not misses(rule, known, call)]


def standing(
    config: Config,
    known: Known,
    agents: list[Rule],
    principals: tuple[list[Rule], list[Rule]],
    calls: list[Call | None],
) -> Iterator[str]:
    """The reasons against who is in it, and a method that nobody knows, before any rule."""
    if not agents:
        yield "agent_unknown"
    if is_suspended(agents):
        yield "agent_suspended"
    if any(is_suspended(agent_entries(config, actor)) for actor in known.actors[1:]):
        yield "actor_not_permitted"  # earlier_actors: {suspended: deny}
    sure, perhaps = principals
    suspended = [entry for entry in (*sure, *perhaps) if entry.get("suspended")]
    if suspended:
        is_agents = all("agents" in entry for entry in suspended)
        yield "actor_not_permitted" if is_agents else "policy_denied"
    elif known.has_token and not sure:
        through_others = any(
            is_meant(entry, known.claims) == "yes" and not entry.get("suspended")
            for entry in config["principals"]
            if not known.is_autonomous or "subjects" in entry["match"]
        )
        if through_others:
            yield "actor_not_permitted"
        if perhaps or not through_others:  # what such entries deny is told by rules
            yield "policy_denied"
    if any(call and not call.is_known for call in calls):
        yield "method_unknown"


def is_suspended(entries: list[Rule]) -> bool:
    """Whether one of somebody's entries is."""
    return any(entry.get("suspended") for entry in entries)


def agent_entries(config: Config, agent: str) -> list[Rule]:
    """The entries of an agent: its own and those of patterns."""
    return [entry for entry in config["agents"] if id_fits([entry["id"]], agent)]


def principal_entries(config: Config, known: Known, wanted: str) -> list[Rule]:
    """The entries that are about the principal, "yes" or "perhaps", and count for this agent."""
    return [
        entry
        for entry in config["principals"]
        if known.principal is not None
        and is_meant(entry, known.claims) == wanted
        and id_fits(entry.get("agents", [known.agent]), known.agent)
    ]


def is_meant(entry: Rule, claims: Mapping[str, Any]) -> str:
    """Whether an entry is about the principal: "yes", "no", or "perhaps": then it only takes."""
    match = entry["match"]
    if match["issuer"] != claims["iss"]:
        return "no"
    if "subjects" in match and not id_fits(match["subjects"], claims["sub"]):
        return "no"
    wanted = dict(match.get("claims", {}))
    wanted |= {name: match[name] for name in ("groups", "roles") if name in match}
    found = {
        is_or_holds(claims, name, values, entry.get("if_absent", "pass"))
        for name, values in wanted.items()
    }
    return "no" if "no" in found else "perhaps" if "perhaps" in found else "yes"


def claim_of(claims: Mapping[str, Any], name: str) -> Any:
    """A claim by name or JSON Pointer, None where there is none; a text, say, has no members."""
    value: Any = claims
    for step in name.removeprefix("/").split("/"):
        if value is not None:
            value = value.get(step) if isinstance(value, dict) else object()
    return value


def is_or_holds(claims: Mapping[str, Any], name: str, wanted: list[Any], if_absent: str) -> str:
    """Whether a claim is one of the values or a list with one: true is not 1, nor "true"."""
    value = claim_of(claims, name)
    values = value if isinstance(value, list) else [value]
    kinds = {type(one) for one in wanted}
    if any(type(v) is type(w) and v == w for v in values for w in wanted):
        return "yes"
    if name.removeprefix("/").split("/")[0] in elsewhere(claims):
        return "perhaps"
    if value is None:
        return "perhaps" if if_absent == "deny" else "no"
    if not all(type(one) in kinds for one in values):
        return "perhaps"
    texts = [one for one in values if isinstance(one, str)]
    if any(not one.isprintable() or one != one.strip() or is_json(one) for one in texts):
        return "perhaps"
    packed = [value] if isinstance(value, str) else [one for one in texts if set(one) & set(",;|=")]
    words = {word for one in packed for word in re.split(r"[\s,;|=]+", one)}
    return "perhaps" if words & set(wanted) else "no"


def is_json(text: str) -> bool:
    """Whether it is a list or an object, written as JSON into a text."""
    try:
        return isinstance(json.loads(text), list | dict)
    except ValueError:
        return False


def side_of(
    config: Config, entries: list[Rule], perhaps: Sequence[Rule] = (), *, for_itself: bool = False
) -> Side:
    """Their rules; an agent for itself has allows of principals only where it is a subject."""
    allowing = [e for e in entries if not for_itself or "subjects" in e["match"]]
    return Side(
        [rule for rule in rules_of(config, allowing) if rule.get("effect") != "deny"],
        [r for r in rules_of(config, [*entries, *perhaps]) if r.get("effect") == "deny"],
        any(entry.get("unrestricted") for entry in allowing),
    )


def rules_of(config: Config, entries: list[Rule]) -> Iterator[Rule]:
    """The rules of their grants; a shadow rule is only watched."""
    for entry in entries:
        for grant in entry.get("grants", []):
            rules = config["grants"][grant]
            yield from ({**rule, "grant": grant} for rule in rules if not rule.get("shadow"))


def refusal(sides: list[Side], denies: list[Rule], known: Known, call: Call | None) -> set[str]:
    """The acceptable reasons against one call, none when it is allowed."""
    if any(is_about(rule, known, call) and not misses(rule, known, call) for rule in denies):
        return {"policy_denied"}
    found = [lacks(side, known, call) for side in sides]
    near = [[lack for lack in side if "hard" not in lack] for side in found]
    is_written = [set() in side for side in near]
    if not any(is_written) and all(side.is_unrestricted for side in sides):
        return {"policy_denied"}  # who may all, for whom may all: some rule has to allow
    open_sides = [
        lacking
        for side, lacking, is_allowed in zip(sides, near, is_written, strict=True)
        if not is_allowed and not side.is_unrestricted
    ]
    if not all(open_sides):
        is_near = not known.has_token and is_mended_in_part(sides[0], known, call)
        return {"policy_denied", "token_missing"} if is_near else {"policy_denied"}
    reasons = {reason for side in open_sides for lack in side for reason in lack}
    # A scope can't be had without a token. Of a scope and a step-up, of which each would help,
    # the docs leave open which is told.
    return {"token_missing"} if reasons and not known.has_token else reasons


def is_mended_in_part(side: Side, known: Known, call: Call | None) -> bool:
    """Whether a token would mend a part of what some rule misses.

    The docs leave open whether one is asked for then, also by a rule that reads the arguments of a
    message that has none.
    """
    near = (rule for rule in side.allows if is_about({**rule, "when": ""}, known, call))
    return any(misses(rule, known, call) != {"hard"} for rule in near)


def lacks(side: Side, known: Known, call: Call | None) -> list[set[str]]:
    """By rule that could allow: what it misses."""
    return [misses(rule, known, call) for rule in side.allows if is_about(rule, known, call)]


def is_about(rule: Rule, known: Known, call: Call | None) -> bool:
    """Whether a rule is about what is asked."""
    return (
        host_fits(rule["hosts"], known.host)
        and bool({"*", known.method} & set(rule["methods"]))
        and path_fits(rule["paths"], known.segments)
        and names_call(rule, call)
    )


def misses(rule: Rule, known: Known, call: Call | None) -> set[str]:
    """What is not met: a "scope", a "step_up", or what no other token mends, "hard"."""
    missing = set()
    if not set(rule.get("scopes", [])) <= known.scopes:
        missing.add("scope")
    if not is_authenticated(rule, known.claims, known.now):
        missing.add("step_up")
    if "approval" in rule and approval_of(rule, known, call) is None:
        missing.add("approval_required" if asked_of(rule, known, call) else "hard")
    if not (
        headers_fit(rule, known)
        and chain_fits(rule, known)
        and any(is_open(window, known.now) for window in rule.get("during", [{}]))
        and holds(rule, known, call)
        and ("budget" not in rule or cost_of(rule, call) is not None)
    ):
        missing.add("hard")
    return missing


def headers_fit(rule: Rule, known: Known) -> bool:
    """Each header that the rule wants has one of its values, any for a star."""
    return all(
        name in known.headers and bool({"*", known.headers[name]} & set(values))
        for name, values in rule.get("headers", {}).items()
    )


def chain_fits(rule: Rule, known: Known) -> bool:
    """Few enough actors, the token fresh enough, and the earlier actors those of ``via``."""
    listed = [id_fits(rule.get("via", [actor]), actor) for actor in known.actors[1:]]
    if rule.get("effect") == "deny":
        return "via" not in rule or any(listed)
    if "max_token_age" in rule:
        issued = known.claims.get("iat", 0)
        if known.now - issued > seconds(rule["max_token_age"]):
            return False
    return len(known.actors) <= rule.get("max_actors", 99) and all(listed)


def holds(rule: Rule, known: Known, call: Call | None) -> bool:
    """Whether the condition holds; without a value it does for a deny alone."""
    if "when" not in rule:
        return True
    try:
        return CONDITIONS[rule["when"]](known, call)
    except NoValueError:
        return rule.get("effect") == "deny"


def is_open(window: Mapping[str, Any], now: float) -> bool:
    """Whether a time is in the window; hours over midnight are of the day they began on."""
    if not moment(window, "not_before", 0) <= now < moment(window, "not_after", now + 1):
        return False
    local = datetime.fromtimestamp(now, ZoneInfo(window.get("zone", "UTC")))
    day: date = local.date()
    begin, end = window.get("hours", "00:00-24:00").split("-")
    time = f"{local:%H:%M}"
    if begin > end and time < end:
        day -= timedelta(days=1)
    is_in = begin <= time < end if begin < end else time >= begin or time < end
    return is_in and DAYS[day.weekday()] in window.get("days", DAYS)


def moment(window: Mapping[str, Any], name: str, default: float) -> float:
    """A time of the window, as Unix time."""
    return datetime.fromisoformat(window[name]).timestamp() if name in window else default
