"""Assertions: signed once, never beyond what they are about, and never silently left out."""

from math import inf
from typing import Any, Final

import jwt
import pytest
from hypothesis import given as drawn
from hypothesis import strategies as st

from authz.adapters.assertions.assertions import (
    MAX_ASSERTION_CHARS,
    AssertionResult,
    Assertions,
)
from authz.adapters.assertions.settings import AssertionSettings
from authz.adapters.signing.signer import Signer
from authz.core.decision import Actor, Agent, Allow, Delegation, Permit
from authz.core.reason import Denied, Reason
from authz.core.spiffe import SpiffeId
from authz.core.upstream_token import Upstream, UpstreamCredential, UpstreamToken
from authz.edge.envoy.writer import ResponseTemplate
from authz.edge.header_settings import HeaderSettings
from authz.edge.rendering import Renderer
from authz.edge.response import Responder
from support.signing import pem

NOW: Final = 1_800_000_000.5
ISSUER: Final = "https://authz.corp.example"
HEADER: Final = "x-agent-assertion"
TRAVEL: Final = SpiffeId.parse("spiffe://corp.example/ns/agents/sa/travel")
UPSTREAM: Final = Upstream(UpstreamToken.ASSERT, "r", "https://up.example")


def allow_of(**changes: Any) -> Allow:
    """An allow with terms, times and scopes by name."""
    delegation = Delegation(
        changes.get("issuer", "https://as.corp.example"),
        "alice",
        (Actor("https://as.corp.example", TRAVEL.text),),
        frozenset(changes.get("scopes", ())),
        NOW - 10,
        changes.get("expires_at", NOW + 3600),
        terms=changes.get("terms", object()),
    )
    agent = Agent(changes.get("agent", TRAVEL), expires_at=changes.get("certified_until", inf))
    return Allow(agent, delegation, Permit("g/0", "g/0"), NOW + 5, upstream=UPSTREAM)


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    """A signer with a key in a file."""
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    path.write_bytes(pem())
    settings = {"issuer": ISSUER, "keys": ({"file": str(path)},), "insecure": True}
    return Signer(AssertionSettings.model_validate(settings), 60.0)


def given(assertions: Assertions, allow: Allow, decision_id: str, now: float) -> UpstreamCredential:
    """The assertion of a decision that no later step refuses."""
    credential = assertions.sign(allow, decision_id, now)
    assertions.keep(allow.with_credential(credential))
    return credential


def claims_of(text: str) -> dict[str, Any]:
    """The claims, unverified."""
    claims: dict[str, Any] = jwt.decode(text, options={"verify_signature": False})
    return claims


def test_signed_once_for_what_is_the_same(signer: Signer) -> None:
    """Decisions of the same terms, agent and route have one assertion until its margin begins."""
    counted: list[AssertionResult] = []
    assertions = Assertions(signer, ISSUER, HEADER, 60.0, counted.append)
    terms = object()
    refused = assertions.sign(allow_of(terms=terms), "0" * 32, NOW)  # by a later step
    first = given(assertions, allow_of(terms=terms), "1" * 32, NOW)

    again = given(assertions, allow_of(terms=terms), "2" * 32, NOW + 29)
    late = given(assertions, allow_of(terms=terms), "3" * 32, NOW + 30)
    set_back = given(assertions, allow_of(terms=terms), "4" * 32, NOW - 60)

    assert again is first
    assert first is not refused
    assert first.credential_id == claims_of(first.value)["txn"] == "1" * 32
    assert first.good_until == int(NOW) + 30
    assert claims_of(late.value)["txn"] == "3" * 32
    assert claims_of(set_back.value)["iat"] == int(NOW - 60)
    assert counted == [AssertionResult.SIGNED] * 4


@pytest.mark.parametrize(
    "change", [{"terms": object()}, {"agent": SpiffeId.parse("spiffe://corp.example/b")}]
)
def test_others_have_their_own(signer: Signer, change: dict[str, Any]) -> None:
    """Another principal, another token's terms or another agent never gets this one."""
    assertions = Assertions(signer, ISSUER, HEADER, 60.0)
    terms = object()
    first = given(assertions, allow_of(terms=terms), "1" * 32, NOW)

    assert given(assertions, allow_of(terms=terms), "2" * 32, NOW) is first
    assert given(assertions, allow_of(**{"terms": terms, **change}), "2" * 32, NOW) is not first


@drawn(
    st.lists(
        st.tuples(
            st.integers(0, 3),  # of terms
            st.floats(-100, 100),  # when, seconds from now
            st.floats(0.01, 700),  # for how long the token is valid then
            st.floats(0.01, 700) | st.just(inf),  # likewise, the certificate
        ),
        max_size=12,
    ),
    st.floats(10, 600),
)
def test_none_outlives_what_it_is_about(
    asked: list[tuple[int, float, float, float]], lifetime: float
) -> None:
    """Whatever was signed before, an assertion ends with its token, certificate and lifetime.

    It is handed out only while it is valid, and with its margin unless the token ends first.
    """
    assertions = Assertions(_Plain(), ISSUER, "h", lifetime)
    terms = [object() for _ in range(4)]
    for which, when, token_seconds, certificate_seconds in asked:
        now = NOW + when
        ends = min(now + token_seconds, now + certificate_seconds)
        allow = allow_of(
            terms=terms[which],
            expires_at=now + token_seconds,
            certified_until=now + certificate_seconds,
        )
        credential = given(assertions, allow, "d" * 32, now)
        claims = claims_of(credential.value)

        assert claims["iat"] <= now
        assert claims["exp"] <= min(ends, now + lifetime)
        assert credential.good_until <= claims["exp"]
        margin = min(lifetime / 2, 30.0)
        is_by_token = claims["exp"] < claims["iat"] + int(lifetime)
        assert is_by_token or claims["exp"] - credential.good_until >= margin - 1
        assert allow.with_credential(credential).valid_until <= claims["exp"]


class _Plain:
    """A signer by a secret that is nobody's: times alone are looked at."""

    def sign(self, typ: str, claims: dict[str, Any]) -> str:
        """Sign, quickly."""
        return jwt.encode(claims, "s" * 32, "HS256", {"typ": typ})


def test_what_can_t_be_signed_is_refused() -> None:
    """A signer that fails, and an assertion that no header takes, are a deny and counted.

    The second is the token's fault: no client can raise the alarm of the first.
    """

    class Broken:
        def sign(self, typ: str, claims: dict[str, Any]) -> str:
            raise OSError(f"{typ} {claims}")

    counted: list[AssertionResult] = []
    for signer, allow, reason in (
        (Broken(), allow_of(), Reason.INTERNAL_ERROR),
        (_Plain(), allow_of(scopes=["s" * MAX_ASSERTION_CHARS]), Reason.TOKEN_TOO_LARGE),
    ):
        assertions = Assertions(signer, ISSUER, "h", 60.0, counted.append)
        with pytest.raises(Denied) as raised:
            assertions.sign(allow, "d" * 32, NOW)
        assert raised.value.reason is reason
        assert "alice" not in raised.value.detail
    assert counted == [AssertionResult.FAILED, AssertionResult.TOO_LONG]


def test_no_text_has_the_value(signer: Signer) -> None:
    """Neither the credential nor an allow that has it shows the assertion as text."""
    assertions = Assertions(signer, ISSUER, HEADER, 60.0)
    allow = allow_of()
    signed = allow.with_credential(assertions.sign(allow, "d" * 32, NOW))

    assert signed.credential is not None
    assert signed.credential.value not in f"{signed!r} {signed.credential}"


def test_what_is_rendered_is_this_credential(signer: Signer) -> None:
    """The renderer's caches give no earlier assertion of the same token, and none for none."""
    renderer = Renderer(
        Responder(HeaderSettings(), ("authorization",), ("ES256",), assertion=HEADER), "v"
    )
    assertions = Assertions(signer, ISSUER, HEADER, 60.0)
    allow = allow_of(terms=object())
    early, late = (
        allow.with_credential(given(assertions, allow, "1" * 32, when)) for when in (NOW, NOW + 40)
    )
    for signed in (early, late, early):
        response = renderer.render(signed).response
        assert signed.credential is not None
        assert dict(response.headers)[HEADER] == signed.credential.value
        rendered = renderer.render(signed)
        assert signed.credential.value not in f"{rendered!r} {ResponseTemplate.of(response)!r}"
    with pytest.raises(ValueError, match="missing"):
        renderer.render(allow)
