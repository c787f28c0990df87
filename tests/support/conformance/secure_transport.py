"""What every transport that asks for certificates must do besides."""

from abc import abstractmethod
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import grpc
import pytest

from lab.ca import Authority, Svid
from support.conformance.transport import Answerer, Endpoint, TransportConformance
from support.frames import CHECK, Hostile, grpc_context, secured
from support.world import PATIENCE_SECONDS


class SecureEndpoint(Endpoint, Protocol):
    """A transport that asks for certificates.

    Attributes:
        authority: whose certificates it takes, and whose its own is.
        listed: one who may ask, and ``stranger`` one who may not.
    """

    authority: Authority
    listed: Svid
    stranger: Svid


class SecureTransportConformance(TransportConformance):
    """The further clauses of a transport that asks for certificates."""

    @abstractmethod
    def serving(self, folder: Path, answerer: Answerer) -> AbstractContextManager[SecureEndpoint]:
        """Return a transport that listens, stopped at the end."""

    def channel(self, endpoint: Endpoint) -> grpc.Channel:
        """Return a connection of one who is listed."""
        return self._channel_of(endpoint, endpoint.listed)  # type: ignore[attr-defined,arg-type]

    def raw(self, endpoint: Endpoint, window: int = 65_535) -> Hostile:
        """Return a connection of one who is listed."""
        return self._raw_of(endpoint, endpoint.listed, window)  # type: ignore[attr-defined,arg-type]

    def _raw_of(self, endpoint: SecureEndpoint, svid: Svid, window: int = 65_535) -> Hostile:
        context = grpc_context(endpoint.authority.path, svid)
        return Hostile(secured(endpoint.address, context), window)

    def _channel_of(self, endpoint: SecureEndpoint, svid: Svid | None) -> grpc.Channel:
        credentials = grpc.ssl_channel_credentials(
            endpoint.authority.path.read_bytes(),
            svid.key_pem.encode() if svid else None,
            svid.certificate_pem.encode() if svid else None,
        )
        options = (
            ("grpc.ssl_target_name_override", "localhost"),
            ("grpc.use_local_subchannel_pool", 1),
        )
        return grpc.secure_channel(endpoint.address, credentials, options)

    @pytest.fixture
    def secure(self, tmp_path: Path, answerer: Answerer) -> Iterator[SecureEndpoint]:
        """A transport that listens."""
        with self.serving(tmp_path, answerer) as endpoint:
            yield endpoint

    def test_who_is_not_known(
        self, secure: SecureEndpoint, answerer: Answerer, tmp_path: Path
    ) -> None:
        """Without a certificate, or with one of another authority, there is no connection."""
        other = Authority(tmp_path / "other").issue(self.caller)
        for svid in (None, other):
            with self._channel_of(secure, svid) as channel, pytest.raises(grpc.RpcError) as no:
                channel.unary_unary(CHECK, bytes, bytes)(b"a", timeout=PATIENCE_SECONDS)
            assert no.value.code() is grpc.StatusCode.UNAVAILABLE

        assert answerer.asked == []

    def test_who_is_not_listed(self, secure: SecureEndpoint, answerer: Answerer) -> None:
        """Calls of one who may not ask are refused before their message, any method's."""
        with self._raw_of(secure, secure.stranger) as client:
            streams = [client.open(path) for path in (CHECK, "/no/method") for _ in range(50)]
            client.flush()

            denied = str(grpc.StatusCode.PERMISSION_DENIED.value[0])
            assert {client.ends(stream) for stream in streams} == {denied}
        self.assert_answers(secure)
        assert answerer.asked == [b"other"]
