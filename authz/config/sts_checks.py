"""Checks the ``sts`` section of a config against its issuers and trust domains.

What matters most: that the users of two issuers can't become one in our tokens.
"""

from collections.abc import Iterator
from typing import Any

from authz.config.nearest import nearest_or_all
from authz.config.rule_checks import Found
from authz.config.yaml_document import Place
from authz.core.delegation.presets import with_preset


def sts_problems(data: dict[str, Any]) -> Found:
    """Yield unknown issuers and trust domains, and issuers whose users could be merged."""
    sts = data.get("sts")
    if not isinstance(sts, dict):
        return
    yield from _domains(sts, _texts(data.get("trust_domains")))
    issuers = [item.get("issuer") for _, item in _items(data.get("issuers"))]
    known = [name for name in issuers if isinstance(name, str)]
    own = sts.get("issuer")
    if not known or len(known) < len(issuers) or not isinstance(own, str):
        return  # another problem reports that
    for place, name in _named(sts):
        if name not in known and not (name == own and place[1] == "rules"):
            message = f"{name!r} is not one of the issuers; they are compared byte for byte"
            yield place, message + nearest_or_all(name, known, "known")
    yield from _subjects(sts, known, own)
    yield from _claims(sts, data, own)


def _subjects(sts: dict[str, Any], known: list[str], own: str) -> Found:
    listed = [(at, item.get("issuer")) for at, item in _items(sts.get("subjects"))]
    others = [name for name in known if name != own]
    if not listed and len(others) != 1:
        message = (
            f"subjects is required with {len(others)} issuers beside the token service: list those"
            " whose tokens may be exchanged, each with a prefix, so that no two of their users are"
            " the same in its tokens"
        )
        yield ("sts",), message
        return
    for at, name in listed:
        if name == own:
            message = "tokens of our own are taken in any case: their users have their names"
            yield ("sts", "subjects", at, "issuer"), message
    accepted = [name for _, name in listed] or others
    for at, item in _items(sts.get("id_tokens")):
        name = item.get("issuer")
        if isinstance(name, str) and name in known and name not in accepted:
            message = "list the issuer in sts.subjects: its tokens are refused without"
            yield ("sts", "id_tokens", at, "issuer"), message


def _claims(sts: dict[str, Any], data: dict[str, Any], own: str) -> Found:
    """Yield claims that other issuers write and servers would take for what the service grants."""
    entries = [item for _, item in _items(data.get("issuers")) if item.get("issuer") == own]
    for lines in map(with_preset, entries):
        actor = lines.get("actor")
        named = actor.get("claim") if isinstance(actor, dict) else None
        read = (lines.get("scope_claim"), named, *_texts(named))
        for at, item in _items(sts.get("subjects")):
            for number, claim in enumerate(_texts(item.get("claims"))):
                if claim in read:
                    message = (
                        f"servers read {claim} in our own tokens as their scopes or actor, by our"
                        " entry in issuers: passed on, it would be what the other issuer says"
                    )
                    yield ("sts", "subjects", at, "claims", number), message


def _domains(sts: dict[str, Any], known: list[str]) -> Found:
    tls = sts.get("tls")
    if not isinstance(tls, dict) or not known:
        return
    named = _texts(tls.get("trust_domains"))
    if not named and len(known) > 1:
        message = (
            "say in trust_domains for whose agents the CAs of client_ca may vouch: there are"
            f" {len(known)} trust domains, and one must not vouch for another's agents"
        )
        yield ("sts", "tls"), message
    for at, name in enumerate(named):
        if name not in known:
            message = f"{name} is not one of trust_domains{nearest_or_all(name, known, 'known')}"
            yield ("sts", "tls", "trust_domains", at), message


def _named(sts: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Yield each issuer that the section names, beside its own."""
    for key in ("subjects", "id_tokens"):
        for at, item in _items(sts.get(key)):
            if isinstance(name := item.get("issuer"), str):
                yield ("sts", key, at, "issuer"), name
    for at, rule in _items(sts.get("rules")):
        for number, match in _items(rule.get("principals")):
            if isinstance(name := match.get("issuer"), str):
                yield ("sts", "rules", at, "principals", number, "issuer"), name


def _items(listed: object) -> list[tuple[int, dict[str, Any]]]:
    found = listed if isinstance(listed, tuple) else ()
    return [(at, item) for at, item in enumerate(found) if isinstance(item, dict)]


def _texts(listed: object) -> list[str]:
    found = listed if isinstance(listed, tuple) else ()
    return [text for text in found if isinstance(text, str)]
