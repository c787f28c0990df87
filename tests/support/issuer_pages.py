"""The pages on issuers, read: their configs, and their tokens with how a request with each ends.

A page has configs (blocks of YAML that begin with ``server:``). A token is a block of JSON, header
and claims, for the config above it. The paragraph before says who sends it, where, and how that
ends:

    Alice's, by the travel agent. `GET /finance/balance` is allowed, mode `mapped`:
    The agent's own. `GET /finance/balance` is refused, `principal_required`:

Rows of tables below a token say what differs, as a JSON merge patch (RFC 7396) of the claims;
its member "header" is one of the header. Without a token there are none:

    | another tenant's | `{"iss": "https://other.example"}` | `token_issuer` | ... |
    | the app's own, `POST /jobs/7` | `{"scp": null}` | allowed, `autonomous` | ... |
    | by `spiffe://corp.example/other` | no token | `token_missing` | ... |
"""

import json
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from lab.config_builder import ConfigBuilder
from lab.issuer import SigningKey, make_key, sign_raw
from lab.mesh import TRAVEL

_CONFIG = re.compile(r"(?:# yaml-language-server: .*\n)?server:")
_BLOCK: Final = re.compile(
    r"((?:^(?!```|\|)[^\n]+\n)*)\n*^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE
)
_ROW: Final = re.compile(r"^\|.*\|$", re.MULTILINE)
_CELL: Final = re.compile(r"(?<!\\)\|")
_REQUEST: Final = re.compile(r"`([A-Z]+)\s(/[^\s`]*)`")
_CALLER: Final = re.compile(r"`(spiffe://[^`]+)`")
_END: Final = re.compile(r"(allowed|refused),(?:\smode)?\s`(\w+)`")
_NONE: Final = "no token"
_TIMES: Final = ("exp", "iat", "nbf", "auth_time")
_AGE_SECONDS: Final = 10  # of a token when it is sent
_LIFETIME_SECONDS: Final = 300  # of a token without iat
KEYS: Final = {
    algorithm: SigningKey(f"test-{algorithm}", algorithm, make_key(algorithm))
    for algorithm in ("RS256", "ES256")
}


@dataclass(frozen=True)
class Sent:
    """A token of a page, and how a request with it ends.

    Attributes:
        name: the page's words for it.
        config: the page's config.
        claims: None for a request without a token.
        is_allowed: whether it is allowed, with ``word`` as mode; else ``word`` is the reason.
    """

    name: str
    config: str
    header: Mapping[str, Any]
    claims: Mapping[str, Any] | None
    method: str
    path: str
    caller: str
    is_allowed: bool
    word: str

    @property
    def headers(self) -> list[tuple[str, str]]:
        """The request's header with the token, if there is one."""
        if self.claims is None:
            return []
        return [("authorization", f"Bearer {sign(self.header, self.claims)}")]


def sign(header: Mapping[str, Any], claims: Mapping[str, Any]) -> str:
    """Return a token, signed by one of ``KEYS``, as old as if it had just been made."""
    key = KEYS[header["alg"]]
    begin = claims.get("iat", claims["exp"] - _LIFETIME_SECONDS)
    moved = int(time.time()) - _AGE_SECONDS - begin
    named = {**header, "kid": key.key_id}
    now = {name: value + moved if name in _TIMES else value for name, value in claims.items()}
    return sign_raw(key, json.dumps(named).encode(), json.dumps(now).encode())


def read_page(page: Path) -> list[Sent]:
    """Return the tokens of a page, in their order."""
    return list(_sent(page.read_text()))


def is_config(block: str) -> bool:
    """Tell whether a block of YAML is a whole config; its first line may name the schema."""
    return _CONFIG.match(block) is not None


def read_configs(page: Path) -> list[str]:
    """Return the configs of a page, in their order."""
    return [m[3] for m in _BLOCK.finditer(page.read_text()) if is_config(m[3])]


def with_config(text: str, folder: Path) -> ConfigBuilder:
    """Return changes that make the lab's config that of a page, but for its own surroundings.

    The keys of all its issuers are ``KEYS``, in a file of the folder.
    """
    page = yaml.safe_load(text)
    for number, issuer in enumerate(page["issuers"]):
        issuer["keys"] = _keys(issuer["keys"], folder / f"keys-{number}.json")

    def change(config: dict[str, Any]) -> None:
        for name in ("routes", "issuers", "agents", "principals", "grants"):
            del config[name]
        config.update({name: value for name, value in page.items() if name != "server"})

    return ConfigBuilder((change,))


def _keys(settings: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Write the keys, and return settings that name the file in place of the page's source."""
    bundle = settings.get("spiffe_bundle")
    use = {"use": "jwt-svid"} if bundle else {}
    path.write_text(json.dumps({"keys": [{**key.jwk(), **use} for key in KEYS.values()]}))
    if bundle is None:
        return {"file": str(path)}
    return {"spiffe_bundle": {"trust_domain": bundle["trust_domain"], "file": str(path)}}


def _sent(text: str) -> Iterator[Sent]:
    config, token, rows_from = "", None, 0
    for block in _BLOCK.finditer(text):
        if token is not None:
            yield from _rows(text[rows_from : block.start()], token)
        rows_from = block.end()
        if is_config(block[3]):
            config, token = block[3], None
        elif block[2] == "json":
            token = _token(block[1], block[3], config)
            yield token
    if token is not None:
        yield from _rows(text[rows_from:], token)


def _token(words: str, block: str, config: str) -> Sent:
    """Read a block with a header and claims, and the paragraph before it."""
    assert config, f"no config is above {words!r}"
    header, at = json.JSONDecoder().raw_decode(block)
    claims = json.loads(block[at:])
    request, end = _REQUEST.search(words), _END.search(words)
    assert request, f"the words before a token name no request: {words!r}"
    assert end, f"the words before a token do not say how it ends: {words!r}"
    caller = _CALLER.search(words)
    is_allowed = end[1] == "allowed"
    named = caller[1] if caller else TRAVEL
    name = words.strip().split("\n", maxsplit=1)[0]
    return Sent(name, config, header, claims, request[1], request[2], named, is_allowed, end[2])


def _rows(text: str, token: Sent) -> Iterator[Sent]:
    for line in _ROW.findall(text):
        cells = [cell.strip().replace("\\|", "|") for cell in _CELL.split(line)[1:-1]]
        if len(cells) > 2 and (cells[1] == _NONE or cells[1].startswith("`{")):
            patch = None if cells[1] == _NONE else json.loads(cells[1].strip("`"))
            yield _variant(cells[0], patch, cells[2], token)


def _variant(name: str, patch: dict[str, Any] | None, end: str, token: Sent) -> Sent:
    request, caller = _REQUEST.search(name), _CALLER.search(name)
    is_allowed = end.startswith("allowed")
    word = re.search(r"`(\w+)`", end)
    assert word, f"the row of {name!r} does not say how it ends: {end!r}"
    return Sent(
        name,
        token.config,
        _merged(token.header, patch.pop("header", {}) if patch else {}),
        _merged(token.claims, patch),
        request[1] if request else token.method,
        request[2] if request else token.path,
        caller[1] if caller else token.caller,
        is_allowed,
        word[1],
    )


def _merged(base: Any, patch: Any) -> Any:
    """Return a value with a JSON merge patch."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(base) if isinstance(base, dict) else {}
    for name, value in patch.items():
        merged[name] = _merged(merged.get(name), value)
        if value is None:
            del merged[name]
    return merged
