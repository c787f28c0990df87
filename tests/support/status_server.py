"""A real HTTPS server of token status lists, whose lists a test publishes, good or bad."""

import time
import zlib
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Self

from lab.ca import Authority
from lab.issuer import Issuer, SigningKey, b64, sign_json
from support.jwks_server import Behaviour, ScriptedServer, answer

LIST_TYPE: Final = "application/statuslist+jwt"


def pack(numbers: Sequence[int], bits: int = 1) -> bytes:
    """Pack numbers into bytes, the first in the lowest bits (section 4.1)."""
    packed = bytearray(-(-len(numbers) * bits // 8))
    for index, number in enumerate(numbers):
        packed[index * bits // 8] |= number << index * bits % 8
    return bytes(packed)


class StatusServer(AbstractContextManager["StatusServer"]):
    """Serves lists below /statuslists/ on localhost, by a certificate of its own authority."""

    def __init__(self, folder: Path) -> None:
        """Start it, without lists."""
        self.authority = Authority(folder, "status lists")
        self.http = ScriptedServer(tls=self.authority.issue(dns=("localhost",)))

    @property
    def places(self) -> str:
        """What a config allows: any list below."""
        return f"{self.http.base}/statuslists/*"

    def settings(self, **more: object) -> dict[str, Any]:
        """Return a status_list of a config, with changes."""
        files = {"ca_file": str(self.authority.path), "timeout": "10s"}
        return {"uris": [self.places], **files, **more}

    def uri(self, name: str = "1") -> str:
        """Return where a list is."""
        return f"{self.http.base}/statuslists/{name}"

    def status(self, index: int, name: str = "1") -> dict[str, Any]:
        """Return a token's status claim."""
        return {"status_list": {"idx": index, "uri": self.uri(name)}}

    def fetches(self, name: str = "1") -> int:
        """Return how often a list was asked for."""
        return sum(path == f"/statuslists/{name}" for path, _ in self.http.requests)

    def serve(self, behaviour: Behaviour, name: str = "1") -> None:
        """Behave like this at a list's place from now on."""
        self.http.paths[f"/statuslists/{name}"] = behaviour

    def publish(
        self,
        issuer: Issuer,
        numbers: Sequence[int] = (0,) * 64,
        bits: int = 2,
        name: str = "1",
        **changes: Any,
    ) -> None:
        """Publish a list; ``changes`` are as of ``list_token``."""
        token = self.list_token(issuer, pack(numbers, bits), bits, name, **changes)
        self.serve(answer(token.encode(), content_type=LIST_TYPE), name)

    def list_token(
        self,
        issuer: Issuer,
        packed: bytes,
        bits: int = 2,
        name: str = "1",
        *,
        key: SigningKey | None = None,
        header: Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> str:
        """Make a list; ``header`` and ``changes`` alter it, None leaves a member out."""
        key, now = key or issuer.current, time.time()
        members = {"alg": key.algorithm, "kid": key.key_id, "typ": "statuslist+jwt"}
        claims = {
            "sub": self.uri(name),
            "iat": now,
            "exp": now + 3600,
            "ttl": 1,
            "status_list": {"bits": bits, "lst": b64(zlib.compress(packed, 9))},
        }
        return sign_json(key, _given(members, header or {}), _given(claims, changes))

    def __enter__(self) -> Self:
        """Return it."""
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.http.close()


def _given(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not None}
