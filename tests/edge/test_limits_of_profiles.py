"""The proxy's limit of bodies, said by itself or by its profile: what fills it is never read."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.config import ConfigError, load_text
from authz.core.identity import ProfileSettings
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.routes import RouteProtocol, Routes, RouteSettings
from authz.edge.envoy.known_messages import CheckReader
from authz.edge.inputs import MessageInputs, RequestInputs
from lab.config_builder import LAB
from support.known_checks import COMMON, RECORDED, again, ask_for, full, set_header
from support.posts import message
from support.world import World, reason_of

LIMIT: Final = 100
OWN_LIMIT: Final = 80
PROXY: Final = "spiffe://corp.example/ns/tools/sa/ledger"
PROFILES: Final = {
    "default": ProfileSettings(),
    "limited": ProfileSettings(max_request_bytes=LIMIT),
    "own": ProfileSettings(max_request_bytes=OWN_LIMIT, callers=(PROXY,)),
}
IDENTITY: Final = AgentAuthenticator(["corp.example"], PROFILES)
INPUTS: Final = RequestInputs(
    COMMON,
    messages=MessageInputs(
        Routes((RouteSettings(name="mcp", paths=("/finance/**",), protocol=RouteProtocol.MCP),)),
        IDENTITY.profile_of,
    ),
)
# Limits that the profile of a request gives, by the name that its route says and its proxy.
LIMITS: Final[Mapping[tuple[str, str], int | None]] = {
    ("", ""): None,
    ("limited", ""): LIMIT,
    ("unknown", ""): None,
    ("own", ""): None,  # another proxy's
    ("", PROXY): OWN_LIMIT,
    ("limited", PROXY): LIMIT,
    ("default", PROXY): None,
}
EXTENSIONS: Final[Mapping[str | None, int | None]] = {
    None: None,
    "": None,
    "90": 90,
    "1000": 1000,
    "0": 0,
    "x": 0,
    "-5": 0,
    "9" * 13: 0,
}
PING: Final = b'{"jsonrpc":"2.0","id":1,"method":"ping"}'
SIZES: Final = (40, 79, 80, 81, 89, 90, 91, 99, 100, 101, 140)


def asked(form: str, size: int, context: Mapping[str, str | None], length: str | None) -> bytes:
    """A check of a message of that many bytes, with or without a content-length."""
    request = pb.CheckRequest.FromString(
        ask_for(RECORDED[form], "/finance/accounts/7", PING.ljust(size))
    )
    http = request.attributes.request.http
    if length is None:
        http.headers.pop("content-length", None)
        kept = [one for one in http.header_map.headers if one.key != "content-length"]
        del http.header_map.headers[:]
        http.header_map.headers.extend(kept)
    if length == "wrong":
        set_header(request, "content-length", b"%d" % (size + 1))
    for name, value in context.items():
        if value is not None:
            request.attributes.context_extensions[name] = value
    return request.SerializeToString()


def expected(size: int, limit: int | None, length: str | None) -> str:
    """Why the body is not read, "" if it is."""
    if length == "wrong" or (limit is not None and size >= limit):
        return "body_truncated"
    return "body_uninspectable" if length is None and limit is None else ""


@pytest.fixture(scope="module")
def reader() -> CheckReader:
    """A reader that knows ever more messages."""
    return CheckReader(INPUTS)


@given(
    form=st.sampled_from(sorted(RECORDED)),
    sizes=st.lists(st.sampled_from(SIZES), min_size=3, max_size=5),
    said=st.tuples(st.sampled_from(sorted(LIMITS)), st.sampled_from(list(EXTENSIONS))),
    length=st.sampled_from([None, "right", "wrong"]),
)
@settings(max_examples=150)
def test_what_fills_the_limit_is_refused(
    reader: CheckReader,
    form: str,
    sizes: list[int],
    said: tuple[tuple[str, str], str | None],
    length: str | None,
) -> None:
    """Whatever says the limit: a body that fills it is refused, a shorter one is read.

    A known message gives the same as one that is read in full.
    """
    profile, extension = said
    named, proxy = profile
    context = {"authz_profile": named or None, "authz_max_request_bytes": extension}
    limit = EXTENSIONS[extension] if extension else LIMITS[profile]
    for number, size in enumerate(sizes):
        data = again(asked(form, size, context, length), number)
        found = reader.read(data, proxy)
        why = found.request.unread

        assert found == full(INPUTS, data, proxy)
        assert (why[0].code if why else "") == expected(size, limit, length)


def test_a_body_without_a_length_behind_istio(tmp_path: Path) -> None:
    """Without context extensions the default profile's limit lets a chunked MCP body pass.

    The limit that a proxy sends comes first, also where it is malformed.
    """
    routes = LAB.with_routes("- {name: tools, paths: [/tools], protocol: mcp}").with_rules(
        "finance-read",
        "- {hosts: ['*'], methods: [POST], paths: [/tools], scopes: [], mcp: {tools: [find]}}",
    )
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "find"}}
    size = len(json.dumps(call))

    def asked_of(world: World, **context: str) -> str:
        check = message(world, call, path="/tools", content_length=None)
        check.attributes.context_extensions.update(context)
        return reason_of(world.check(check))

    with World(tmp_path / "a", routes) as world:
        assert asked_of(world) == "body_uninspectable"
    limit = routes.with_(("profiles", "default", "max_request_bytes"), size + 1)
    with World(tmp_path / "b", limit) as world:
        assert asked_of(world) == "allow"
        assert asked_of(world, authz_max_request_bytes=str(size)) == "body_truncated"
        assert asked_of(world, authz_max_request_bytes="64KiB") == "body_truncated"
    limit = routes.with_(("profiles", "default", "max_request_bytes"), size)
    with World(tmp_path / "c", limit) as world:
        assert asked_of(world) == "body_truncated"
        assert asked_of(world, authz_max_request_bytes=str(size + 1)) == "allow"


@pytest.mark.parametrize("limit", [0, -1, 2**32, "64KiB", 1.5, True])
def test_limits_that_no_proxy_has(shared_world: World, limit: object) -> None:
    """A limit is a number of bytes that Envoy's own setting can hold: an error at its line else."""
    wrong = f"{{certificate: required, max_request_bytes: {limit}}}"
    text = shared_world.config_text.replace("{certificate: required}", wrong)
    with pytest.raises(ConfigError, match=r"f.yaml:7: profiles.default.max_request_bytes: "):
        load_text(text.encode(), "f.yaml")
