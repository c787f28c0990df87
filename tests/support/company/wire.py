"""The company on the wire: real certificates, signed tokens, and CheckRequests of a proxy."""

import json
from pathlib import Path
from typing import Any

from authz._pb import ext_authz_pb2 as pb
from lab.ca import Authority
from lab.issuer import Issuer, sign_raw
from support.company.names import (
    LEGACY_ISSUER,
    PARTNER_ISSUER,
    STAFF_ISSUER,
    STATUSES,
    agent,
)
from support.company.vendors import VENDORS
from support.docs_model import Asked, Token
from support.status_server import StatusServer

HOUR_SECONDS = 3600.0


class Wire:
    """Makes CheckRequests, each certificate once."""

    def __init__(self, folder: Path) -> None:
        """Make the authority and issuers; the keys go where the config looks for them."""
        self._authority = Authority(folder / "pki")
        self._certificates: dict[tuple[str, bool], str] = {}
        urls = (STAFF_ISSUER, PARTNER_ISSUER, LEGACY_ISSUER, *VENDORS)
        self._issuers = {url: Issuer(url, "") for url in urls}
        for number, issuer in enumerate(self._issuers.values()):
            (folder / f"keys-{number}.json").write_bytes(issuer.jwks())

    def publish(self, server: StatusServer) -> None:
        """Publish the status list of staff."""
        server.publish(self._issuers[STAFF_ISSUER], STATUSES)

    def check_request(self, asked: Asked) -> pb.CheckRequest:
        """As a proxy sends it, with headers as they came."""
        message = pb.CheckRequest()
        source = message.attributes.source
        source.principal = asked.agent
        if asked.agent and asked.certificate != "none":
            source.certificate = self._certificate(asked)
        http = message.attributes.request.http
        http.method, http.path, http.host = asked.method, asked.path, asked.host
        headers = dict(asked.headers)
        if asked.token:
            headers["authorization"] = f"Bearer {self._sign(asked.token)}"
        if asked.body:
            length = len(asked.body) + asked.is_cut
            headers["content-length"] = str(length)
            http.raw_body, http.size = asked.body, length
        for name, value in headers.items():
            http.header_map.headers.add(key=name, raw_value=value.encode())
        if asked.route:
            message.attributes.context_extensions["authz_route"] = asked.route
        return message

    def _certificate(self, asked: Asked) -> str:
        """The caller's own, or one that is old or of somebody else."""
        name = agent(99) if asked.certificate == "other" else asked.agent
        is_old = asked.certificate == "expired"
        if (name, is_old) not in self._certificates:
            starts = -100_000 if is_old else -60  # they hold for a day
            svid = self._authority.issue(name, starts_in_seconds=starts)
            self._certificates[name, is_old] = svid.url_encoded
        return self._certificates[name, is_old]

    def _sign(self, token: Token) -> str:
        """A token of its issuer, or of one that only says so."""
        staff = self._issuers[STAFF_ISSUER]
        key = self._issuers.get(token.claims["iss"], staff).current
        header: dict[str, Any] = {"alg": key.algorithm, "kid": key.key_id}
        header |= {"typ": token.typ} if token.typ else {}
        header |= {"kid": {"kid": "nobody"}, "alg": {"alg": "RS256"}}.get(token.defect, {})
        if token.defect == "signature":
            key = Issuer("", "").current
        claims = json.dumps(token.claims, ensure_ascii=False).encode()
        return sign_raw(key, json.dumps(header).encode(), claims)
