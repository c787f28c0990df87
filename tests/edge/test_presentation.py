"""What proxies present is kept without secrets, in bounded space, and for bounded work."""

import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz._pb import ext_authz_pb2 as pb
from authz.edge.envoy.presenting import present_check
from authz.edge.envoy.reader import read_check
from authz.edge.presentation import (
    MAX_IDS,
    MAX_NAME_CHARS,
    MAX_NAMES,
    Presentation,
)
from authz.edge.presentation_store import BUDGET, MAX_KEPT, WEIGHT_BYTES, Presentations
from authz.edge.presenting import Sight
from lab.config_builder import LAB
from lab.mesh import GATEWAY, TRAVEL
from support.ext_mcp import CHANGES, Gateway, call, request, response
from support.world import READ, World, check_request

SECRET = "s3cr3t-v4lu3-th4t-n0b0dy-m4y-s33"
MAX_BYTES = 16 * 1024  # of a presentation as JSON: names, three times, and SPIFFE IDs


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A core with a route of MCP."""
    routes = LAB.with_routes("- {name: trips, paths: [/trips/**], protocol: mcp}")
    with World(tmp_path_factory.mktemp("presented"), routes) as world:
        yield world


def last(world: World) -> Presentation:
    """Return the only presentation."""
    [kept] = world.service.presentations.kept()
    return kept.last


def test_a_new_check_is_presented_and_a_remembered_one_is_not(world: World) -> None:
    """A decision from the cache leaves nothing; the presentation says what was decided."""
    token = world.token()
    world.ask(token, context={"authz_route": "finance", "authz_max_request_bytes": "64"})
    for _ in range(3):
        world.ask(token, context={"authz_route": "finance", "authz_max_request_bytes": "64"})

    [kept] = world.service.presentations.kept()
    assert (kept.decided, kept.seen, kept.with_credential) == (1, 1, 1)
    seen = kept.last
    assert (seen.decision, seen.route, seen.named_route) == ("allow", "finance", "finance")
    assert seen.identity.agent == TRAVEL
    assert seen.identity.certificate == "svid"
    assert seen.headers.names == ("authorization",)
    assert seen.extensions == ("authz_max_request_bytes", "authz_route")
    assert seen.max_request_bytes == "64"


def test_a_kind_is_presented_once_a_second() -> None:
    """Of one kind a presentation is made once a second; the others are counted alone."""
    book = Presentations()

    assert book.wants(("a",), 10, 1.0)
    book.keep(("a",), Presentation("ext_authz"))
    assert not any(book.wants(("a",), 10, 1.0 + tenth / 10) for tenth in range(1, 10))
    assert book.wants(("a",), 10, 2.0)
    [kept] = book.kept()
    assert (kept.decided, kept.seen) == (11, 1)


def test_all_kinds_share_a_budget() -> None:
    """However many kinds there are, and however large their messages, the work has an end."""
    book = Presentations()
    small = sum(book.wants((str(number),), 10, 1.0) for number in range(1000))
    large = sum(book.wants((f"l{number}",), 7 * WEIGHT_BYTES, 2.0) for number in range(1000))

    assert (small, large) == (BUDGET, BUDGET // 8)


def test_a_message_that_is_too_large_takes_nothing_from_others() -> None:
    """A client's huge messages, one after the other, hide no other proxy's checks."""
    book = Presentations()

    assert not any(book.wants(("huge",), 2 * BUDGET * WEIGHT_BYTES, 1.0) for _ in range(9))
    assert book.wants(("small",), 10, 1.0)


def test_the_oldest_kind_makes_room() -> None:
    """At most MAX_KEPT kinds are kept, the newest."""
    book = Presentations()
    for number in range(3 * MAX_KEPT):
        assert book.wants((str(number),), 10, float(number))
        book.keep((str(number),), Presentation("ext_authz", route=str(number)))

    kept = {one.last.route for one in book.kept()}
    assert kept == {str(number) for number in range(2 * MAX_KEPT, 3 * MAX_KEPT)}


def test_header_of_earlier_proxies(core: World) -> None:
    """x-forwarded-client-cert is told by its SPIFFE IDs, whatever the profile reads."""
    text = f"By={GATEWAY};URI={TRAVEL},By=https://x;URI=a;URI=b"
    message = check_request(core.svid, [("x-forwarded-client-cert", text)])
    seen = present(core, message)

    assert seen.identity.xfcc is not None
    assert seen.identity.xfcc.elements == 2
    assert seen.identity.xfcc.uris == (TRAVEL, "")
    assert seen.identity.xfcc.by == (GATEWAY, "other")


def test_one_element_with_many_names(core: World) -> None:
    """A client's own header takes no more room than that of as many proxies as are read."""
    name = f"spiffe://corp.example/{'a' * 100}"
    text = ";".join([f"URI={TRAVEL}", *[f"By={name}"] * 200])
    seen = present(core, check_request(core.svid, [("x-forwarded-client-cert", text)]))

    assert seen.identity.xfcc is not None
    assert seen.identity.xfcc.by == (name,) * MAX_IDS
    assert len(msgspec.json.encode(seen)) < MAX_BYTES


def present(world: World, message: pb.CheckRequest) -> Presentation:
    """Present a message as the server does."""
    snapshot = world.service.snapshot
    request_read = read_check(snapshot.inputs, message).request
    return present_check(Sight.of(snapshot), message, request_read, 1.8e9)


ANY = st.text(max_size=200)
NAMES = st.text(st.characters(codec="utf-8"), max_size=200)


XFCC = st.one_of(ANY, st.text('By=;,URIspiffe:/x"\\', max_size=300))
TEXTS = st.fixed_dictionaries(
    {"principal": ANY, "path": ANY, "method": ANY, "xfcc": XFCC, "extension": ANY}
)


@given(names=st.lists(NAMES, max_size=150), texts=TEXTS, form=st.sampled_from(["raw", "joined"]))
def test_whatever_comes(core: World, names: list[str], texts: dict[str, str], form: str) -> None:
    """No message makes the presenting fail; the result is small, ASCII, and holds no value."""
    headers = [(name, SECRET) for name in names]
    headers += [("authorization", f"Bearer {SECRET}"), ("cookie", SECRET), ("dpop", SECRET)]
    headers += [("x-forwarded-client-cert", texts["xfcc"]), ("content-length", SECRET)]
    message = check_request(
        core.svid,
        headers,
        raw_headers=form == "raw",
        path=f"{texts['path']}?access_token={SECRET}",
        method=texts["method"],
        principal=texts["principal"],
        certificate=SECRET,
        context=dict.fromkeys(("authz_profile", "authz_max_request_bytes"), texts["extension"]),
    )
    message.attributes.request.http.raw_body = SECRET.encode()
    message.attributes.request.http.id = SECRET
    text = msgspec.json.encode(present(core, message)).decode()

    assert SECRET not in text
    assert text.isascii()
    assert text.isprintable()
    assert len(text) < MAX_BYTES


def test_names_are_bounded(core: World) -> None:
    """A client's names of headers are cut, and so is their number."""
    headers = [("x" * number, "1") for number in range(1, 3 * MAX_NAMES)]
    seen = present(core, check_request(core.svid, headers, raw_headers=True))

    assert seen.headers.count == len(headers)
    assert len(seen.headers.names) <= MAX_NAMES
    assert max(map(len, seen.headers.names)) <= MAX_NAME_CHARS


def test_guardrails_are_presented(tmp_path: Path) -> None:
    """A call and a result of guardrails are kinds of their own."""
    with World(tmp_path, CHANGES) as world:
        gateway = Gateway(world)
        assert call(gateway, "search") == "pass"
        assert call(gateway, "search") == "pass"
        gateway.ask(request("tools/list", token=None, agent=None))
        gateway.show(response("tools/list", {"tools": []}, token=world.token(scope=READ)))
        kept = {one.last.protocol: one for one in world.service.presentations.kept()}

    assert set(kept) == {"guardrails", "guardrails_result"}
    assert kept["guardrails"].last.route == "tools"
    assert kept["guardrails"].last.namespaces == ("agentgateway.source",)
    assert "agentgateway.request" in kept["guardrails_result"].last.namespaces
    assert kept["guardrails"].last.decision == "allow"


def test_a_fault_in_presenting_is_not_the_clients(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The answer was made before: it goes out even if the presenting fails."""

    def fail(*_: object) -> bool:
        raise ValueError(SECRET)

    monkeypatch.setattr(world.service.presentations, "wants", fail)
    assert world.ask(world.token()).status.code == 0
    assert json.dumps(world.service.presentations.kept()) == "[]"


@pytest.mark.parametrize(
    ("sent", "form"),
    [
        ("", ""),
        ("12345678901234567890", "decimal"),
        ("0" * 30 + "af", "hex"),
        (f"00-{'a' * 32}-{'b' * 16}-01", "hex"),
        ("a-clients-own-id", "other"),
    ],
)
def test_the_proxys_id(core: World, sent: str, form: str) -> None:
    """Of the proxy's id of a request only the form is kept, by which Envoy is told from others."""
    message = check_request(core.svid, [])
    message.attributes.request.http.id = sent

    assert present(core, message).id_form == form
