"""Subject tokens that others must be asked about, and actor tokens, through the token service.

Opaque tokens of a real authorization server (RFC 7662), entries of status lists, and JWT-SVIDs.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import httpx
import jwt
import pytest

from lab.config_builder import AT_ISSUER, LAB
from lab.issuer import MADE, SigningKey, sign_json
from lab.mesh import AUDIENCE, ORCHESTRATOR, TRAVEL
from support.jwks_server import answer, ec_key
from support.opaque_issuer import SECRET, OpaqueIssuer
from support.spiffe_bundles import bundle, entry
from support.status_server import StatusServer
from support.sts_server import ACCESS_TOKEN, STS, TokenServiceWorld
from support.world import wait_until

LEDGER: Final = "https://ledger.corp.example"
SPIRE: Final = "https://spire.corp.example"
JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
ID_TOKEN: Final = "urn:ietf:params:oauth:token-type:id_token"
SPIRE_KEY: Final = ec_key("spire")
VALID, REVOKED, SUSPENDED = 0, 1, 2
TOO_FAST: Final = 429


class Asking:
    """A token service that runs, and an agent's client of it."""

    def __init__(self, world: TokenServiceWorld, opened: ExitStack) -> None:
        """Run it."""
        self.world = world
        opened.enter_context(world.serving())
        self.http = opened.enter_context(world.client())
        self._asked = 0

    def ask(self, **form: str) -> httpx.Response:
        """Ask for a token as the orchestrator, no faster than an agent may."""
        while (given := self.world.exchange(self.http, **form)).status_code == TOO_FAST:
            time.sleep(float(given.headers["retry-after"]))
        self._asked += 1
        return given

    def claims(self, **form: str) -> dict[str, Any]:
        """Ask for a token, which must be issued, and return its claims."""
        given = self.ask(**form)
        assert given.status_code == httpx.codes.OK, given.text
        token = given.json()["access_token"]
        claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
        return claims

    def refused(self, **form: str) -> tuple[int, str, str]:
        """Ask, and return the status, the error that the client is told, and the reason."""
        given = self.ask(**form)
        wait_until(lambda: len(self.world.audit_records()) == self._asked)
        record = self.world.audit_records()[-1]
        return given.status_code, given.json().get("error", ""), record["reason"]


@pytest.fixture(scope="module")
def provider(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpaqueIssuer]:
    """An authorization server of opaque tokens."""
    with OpaqueIssuer(tmp_path_factory.mktemp("op")) as made:
        yield made


@pytest.fixture(scope="module")
def opaque(provider: OpaqueIssuer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asking]:
    """A token service that introspects subject tokens, and remembers the answers for a second."""
    file = provider.folder / "authz.secret"
    credential = {"client_id": "authz", "client_secret_file": str(file), "max_age": "1s"}
    rule = f"""
    - name: hand-on
      agents: ["{ORCHESTRATOR}"]
      subject_audiences: ["{AUDIENCE}"]
      via: ["{TRAVEL}"]
      audiences: ["{LEDGER}"]
      scopes: ["balance:read"]
    """
    changes = provider.config(credential).with_items(("sts", "rules"), rule)
    folder = tmp_path_factory.mktemp("opaque")
    with ExitStack() as opened:
        world = opened.enter_context(TokenServiceWorld(folder, changes, issuer=provider.url))
        yield Asking(world, opened)


def test_an_opaque_subject_token(provider: OpaqueIssuer, opaque: Asking) -> None:
    """The issuer says whose it is and who acts: the new token names both, and the client."""
    token = provider.user_tokens()["access_token"]
    claims = opaque.claims(subject_token=token, resource=LEDGER)
    assert (claims["sub"], claims["aud"], claims["scope"]) == ("alice", LEDGER, "balance:read")
    assert claims["act"] == {"sub": ORCHESTRATOR, "act": {"sub": TRAVEL}}


def test_an_opaque_subject_token_that_was_revoked(provider: OpaqueIssuer, opaque: Asking) -> None:
    """Once its issuer has revoked it, it is good for max_age at most."""
    token = provider.user_tokens()["access_token"]
    form = {"subject_token": token, "resource": LEDGER}
    assert opaque.ask(**form).status_code == httpx.codes.OK
    provider.revoke(token)
    inactive = (400, "invalid_request", "token_inactive")
    wait_until(lambda: opaque.refused(**form) == inactive)


def test_opaque_tokens_that_are_no_subject_tokens(provider: OpaqueIssuer, opaque: Asking) -> None:
    """What nobody issued, a client's own token, and a good token under another type's name."""
    own, users = provider.own_token(), provider.user_tokens()
    token = users["access_token"]

    def reason(token: str, kind: str = ACCESS_TOKEN) -> str:
        form = {"subject_token": token, "subject_token_type": kind, "resource": LEDGER}
        status, error, found = opaque.refused(**form)
        assert (status, error) == (400, "invalid_request")
        return found

    assert reason("made-up") == "token_inactive"
    assert reason(own) == "principal_required"
    assert reason(users["refresh_token"]) == "token_typ"
    assert {reason(token, JWT), reason(token, ID_TOKEN)} == {"token_malformed"}
    assert SECRET not in opaque.world.audit_path.read_text()


def test_an_issuer_that_can_not_be_asked(tmp_path: Path) -> None:
    """Whether the token is active is not known: no token, and ask again later."""
    with OpaqueIssuer(tmp_path) as gone:
        token, changes = gone.user_tokens()["access_token"], gone.config()
    with ExitStack() as opened:
        world = opened.enter_context(TokenServiceWorld(tmp_path, changes, issuer=gone.url))
        found = Asking(world, opened).refused(subject_token=token)
    assert found == (503, "temporarily_unavailable", "status_unavailable")


class Listed(Asking):
    """A token service whose issuers are one with status lists, and SPIRE."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        """Run it."""
        self.lists = opened.enter_context(StatusServer(folder / "lists"))
        (folder / "bundle.json").write_bytes(bundle(entry(SPIRE_KEY)))
        keys = f"{{trust_domain: corp.example, file: '{folder}/bundle.json'}}"
        spire = f"""
        - issuer: {SPIRE}
          kind: spire
          keys: {{spiffe_bundle: {keys}}}
          audiences: ['{AUDIENCE}']
        """
        changes = LAB.with_(
            (*AT_ISSUER, "status_list"), self.lists.settings(max_age="2s")
        ).with_items(("issuers",), spire)
        super().__init__(opened.enter_context(TokenServiceWorld(folder, changes)), opened)

    def publish(self, number: int, name: str) -> None:
        """Publish a list of this name that says this of the token at 5."""
        numbers = [number if index == 5 else VALID for index in range(64)]
        self.lists.publish(self.world.issuer, numbers, name=name)

    def subject(self, name: str) -> str:
        """Return a subject token whose status is at 5 of this list."""
        return self.world.subject(status=self.lists.status(5, name))


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Listed]:
    """The service, running."""
    with ExitStack() as opened:
        yield Listed(tmp_path_factory.mktemp("listed"), opened)


@pytest.mark.parametrize(("number", "name"), [(REVOKED, "revoked"), (SUSPENDED, "suspended")])
def test_a_status_counts(listed: Listed, number: int, name: str) -> None:
    """A listed token is exchanged as long as its list says that it is valid."""
    listed.publish(VALID, name)
    token = listed.subject(name)
    assert listed.claims(subject_token=token)["sub"] == "alice"
    listed.publish(number, name)
    revoked = (400, "invalid_request", "token_revoked")
    wait_until(lambda: listed.refused(subject_token=token) == revoked)


def test_a_status_that_can_not_be_known(listed: Listed) -> None:
    """A list that is not there, or that its issuer has not signed: no token, and ask later."""
    listed.lists.serve(answer(b"", status=503), "away")
    listed.lists.serve(answer(b"a.b.c", content_type="application/statuslist+jwt"), "broken")
    for name in ("away", "broken", "never-published"):
        found = listed.refused(subject_token=listed.subject(name))
        assert found == (503, "temporarily_unavailable", "status_unavailable")
    other = {"idx": 5, "uri": "https://lists.other.example/1"}
    elsewhere = listed.world.subject(status={"status_list": other})
    assert listed.refused(subject_token=elsewhere)[0] == 400


def svid(key: SigningKey = SPIRE_KEY, **claims: Any) -> str:
    """Return a JWT-SVID of the orchestrator for the token service."""
    now = int(time.time())
    said = {"sub": ORCHESTRATOR, "aud": [STS], "iat": now, "exp": now + 300} | claims
    return sign_json(key, {"alg": "ES256", "kid": key.key_id, "typ": "JWT"}, said)


def test_the_clients_own_svid_as_actor_token(listed: Listed) -> None:
    """RFC 8693 section 2.1: the actor token names who the client is already by its certificate."""
    plain = listed.claims()
    claims = listed.claims(actor_token=svid(), actor_token_type=JWT)
    assert claims["act"] == plain["act"] == {"sub": ORCHESTRATOR}
    assert (claims["sub"], claims["client_id"]) == ("alice", ORCHESTRATOR)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"sub": TRAVEL}, "actor_mismatch"),
        ({"aud": [AUDIENCE]}, "token_audience"),
        ({"exp": 1}, "token_expired"),
        ({"key": ec_key("spire")}, "token_signature"),
        ({"sub": "alice"}, "token_issuer"),
    ],
)
def test_another_actor_token_is_refused(listed: Listed, token: dict[str, Any], reason: str) -> None:
    """Another agent's SVID, one for another audience or past its end, and a forged one."""
    found = listed.refused(actor_token=svid(**token), actor_token_type=JWT)
    assert found == (400, "invalid_request", reason)


def test_an_svid_is_nobodys_subject_token(listed: Listed) -> None:
    """An agent's own token is no person's: its type is for calls of the agent itself alone."""
    form = {"subject_token": svid(), "subject_token_type": JWT}
    MADE.append(form["subject_token"])
    assert listed.refused(**form) == (400, "invalid_request", "token_typ")
