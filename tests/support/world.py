"""The server's core in this process: real config, keys and certificates; checks as bytes."""

import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from pathlib import Path
from typing import Any, Final, Self

import msgspec
from prometheus_client import generate_latest

from authz._pb import ext_authz_pb2 as pb
from authz.config import Config, load_text
from authz.edge import methods
from authz.edge.envoy import Authorization
from authz.server.liveness import Liveness
from authz.server.process_metrics import build_metrics
from authz.server.reload import ConfigReload, ConfigSource
from authz.server.watches import build_watches
from authz.wiring.parts import open_parts
from lab.ca import Authority, Svid
from lab.config_builder import LAB, ConfigBuilder
from lab.issuer import Issuer, JwksServer
from lab.live_files import whole_records
from lab.mesh import AUDIENCE, CONFIG, ISSUER, TRAVEL
from support.audit_schema import require_valid_file
from support.canary import canary

HOST = "mcp.corp.example"
BALANCE = "/finance/balance"
READ = "balance:read"
# The headers of an allow that may hold tokens.
CREDENTIALS = ("x-agent-assertion", "x-decision", "authorization", "x-access-token")
# For what comes by itself, and at once on a quiet machine. It is no measure of how soon that is: on
# a busy one everything takes ten times as long. It is less than what a test may take in all.
PATIENCE_SECONDS: Final = 60.0
MAX_WAITING: Final = 4  # checks that may wait for keys or a decision point

# Of certificates and tokens that end while a test looks on: the first in which it got to look.
LIFETIMES_SECONDS: Final = (2, 4, 8, 16, 32)


def wait_until(condition: Callable[[], object], seconds: float = PATIENCE_SECONDS) -> None:
    """Wait for something that must come.

    Looking takes a quarter of the time where it takes long: it may be a scrape of all workers, and
    what is waited for needs the same cores.
    """
    begun = time.monotonic()
    end = begun + seconds
    while not condition():
        now = time.monotonic()
        assert now < end, "it did not come"
        time.sleep(min(max(0.005, 3 * (now - begun)), 0.1))
        begun = time.monotonic()


class World(AbstractContextManager["World"]):
    """An issuer that serves its keys, and a CheckService that trusts it."""

    def __init__(self, folder: Path, changes: ConfigBuilder = LAB) -> None:
        """Start; ``changes`` are of the lab's config."""
        self.folder = folder
        self.authority = Authority(folder / "pki")
        self.svid = self.authority.issue(TRAVEL)
        self.issuer = Issuer(ISSUER, AUDIENCE)
        self.audit_path = folder / "audit.jsonl"
        with ExitStack() as opened:
            self.jwks = opened.enter_context(closing(JwksServer(self.issuer)))
            self.config = self.configure(changes)
            self.parts = opened.enter_context(open_parts(self.config))
            self.parts.start()
            self._opened = opened.pop_all()
        self.service, self.metrics = self.parts.service, self.parts.metrics
        self.revocations, self.keys = self.parts.shared.revocations, self.parts.keys
        self.audit = self.parts.audit
        source = ConfigSource(folder / "authz.yaml")  # for tests that write one
        self.reload = ConfigReload(source, self.parts.reconfigure)
        self.registry = build_metrics(self.parts, self.reload, Liveness()).registry
        if self.revocations.store is not None:  # what looks there, as in a server
            store = build_watches(self.parts, self.reload, Liveness())[-1]
            self._opened.callback(store.stop)
            store.start()
        self.authorization = Authorization(self.service)
        wait_until(lambda: all(source.successes + source.failures for source in self.keys.status()))

    def configure(self, changes: ConfigBuilder) -> Config:
        """Return the lab's config with changes, from its text."""
        text = CONFIG.format(
            socket="/nowhere/authz.sock",
            admin_port=0,
            drain="1s",
            jwks_uri=f"{self.jwks.url}/jwks",
            audit=self.audit_path,
        )
        self.config_text = changes.edit(text)
        config = load_text(self.config_text.encode(), "test.yaml")
        if "max_waiting" in config.server.model_fields_set:
            return config
        server = config.server.model_copy(update={"max_waiting": MAX_WAITING})
        return config.model_copy(update={"server": server})

    def __enter__(self) -> Self:
        """Return this world."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop everything."""
        canary.note("metrics", generate_latest(self.registry))
        canary.note("presented", msgspec.json.encode(self.service.presentations.kept()))
        self._opened.close()
        require_valid_file(self.audit_path)

    def token(self, **changes: Any) -> str:
        """Make a valid token for the travel agent, with changes."""
        return self.issuer.token(TRAVEL, **{"scope": READ, **changes})

    def check(
        self, data: bytes | pb.CheckRequest, deadline: float | None = PATIENCE_SECONDS
    ) -> pb.CheckResponse:
        """Ask the core, and return the parsed answer."""
        raw = data if isinstance(data, bytes) else data.SerializeToString()
        answer = methods.answer(self.authorization, raw, lambda: deadline)
        canary.note("answer", without_credential(answer))
        return pb.CheckResponse.FromString(answer)

    def ask(self, token: str | None = None, **changes: Any) -> pb.CheckResponse:
        """Ask for the balance with a token; ``changes`` as in ``check_request``."""
        headers = [] if token is None else [("authorization", f"Bearer {token}")]
        return self.check(check_request(self.svid, headers, **changes))

    def audit_records(self) -> list[dict[str, Any]]:
        """Return the records of the audit log once everything was written."""
        wait_until(lambda: not self.audit.status().queued)
        return whole_records(self.audit_path)


def without_credential(answer: bytes) -> bytes:
    """Return an answer without the headers' credential for an upstream: its only place."""
    message = pb.CheckResponse.FromString(answer)
    held = [one.header for one in message.ok_response.headers if one.header.key in CREDENTIALS]
    for header in held:
        header.value, header.raw_value = "", b""
    return message.SerializeToString() if held else answer


def check_request(
    svid: Svid | None,
    headers: list[tuple[str, str]],
    *,
    method: str = "GET",
    path: str = BALANCE,
    host: str = HOST,
    principal: str = TRAVEL,
    certificate: str | None = None,
    raw_headers: bool = False,
    context: Mapping[str, str] | None = None,
) -> pb.CheckRequest:
    """Make a CheckRequest as Envoy does, in either form of headers."""
    message = pb.CheckRequest()
    attributes = message.attributes
    attributes.source.principal = principal
    given = certificate if certificate is not None else svid.url_encoded if svid else ""
    attributes.source.certificate = given
    http = attributes.request.http
    http.method, http.path, http.host = method, path, host
    for name, value in headers:
        if raw_headers:
            http.header_map.headers.add(key=name, raw_value=value.encode("utf-8"))
        elif name in http.headers:
            http.headers[name] += f",{value}"
        else:
            http.headers[name] = value
    attributes.context_extensions.update(context or {})
    return message


def reason_of(answer: pb.CheckResponse) -> str:
    """Return "allow", or the reason of a well-formed refusal."""
    if answer.status.code == 0:
        assert answer.HasField("ok_response")
        return "allow"
    assert answer.HasField("denied_response")
    assert answer.dynamic_metadata["decision"] == "deny"
    reason = str(answer.dynamic_metadata["reason"])
    assert header_of(answer, "x-authz-reason") == reason
    return reason


def header_of(answer: pb.CheckResponse, name: str) -> str | None:
    """Return the value of a header that the answer sets, None if it does not."""
    of_deny = answer.HasField("denied_response")
    options = answer.denied_response.headers if of_deny else answer.ok_response.headers
    values = [option.header.value for option in options if option.header.key == name]
    assert len(values) <= 1
    return values[0] if values else None
