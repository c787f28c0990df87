"""Serves the SPIFFE Workload API, by its published protocol, with what a test gives it."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from spiffe._proto import workload_pb2

from lab.ca import Authority, Svid


class WorkloadApi:
    """An agent's Workload API on a unix socket, by its published protocol.

    A stream stays open: ``push`` sends what is there by then, and ``cut`` ends all streams.
    """

    def __init__(self, path: Path) -> None:
        """Serve, with nothing to give yet."""
        self.address = f"unix://{path}"
        self.bundles: dict[str, bytes] = {}
        self.svid: tuple[Svid, Authority] | None = None
        self.status = grpc.StatusCode.OK
        self.calls = 0
        self.go = threading.Event()  # answers wait for it
        self.go.set()
        self._pushed = threading.Condition()
        self._pushes = self._cuts = 0
        self._server = grpc.server(ThreadPoolExecutor(16))
        handler = grpc.method_handlers_generic_handler(
            "SpiffeWorkloadAPI",
            {
                "FetchJWTBundles": grpc.unary_stream_rpc_method_handler(
                    self._bundles,
                    workload_pb2.JWTBundlesRequest.FromString,
                    workload_pb2.JWTBundlesResponse.SerializeToString,
                ),
                "FetchX509SVID": grpc.unary_stream_rpc_method_handler(
                    self._svids,
                    workload_pb2.X509SVIDRequest.FromString,
                    workload_pb2.X509SVIDResponse.SerializeToString,
                ),
            },
        )
        self._server.add_generic_rpc_handlers((handler,))
        self._server.add_insecure_port(f"unix:{path}")
        self._server.start()

    def _check(self, context: Any) -> None:
        self.calls += 1
        metadata = dict(context.invocation_metadata())
        if metadata.get("workload.spiffe.io") != "true":
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "security header missing")
        if self.status != grpc.StatusCode.OK:
            context.abort(self.status, "no identity issued")

    def push(self) -> None:
        """Send what is there now to every stream."""
        with self._pushed:
            self._pushes += 1
            self._pushed.notify_all()

    def cut(self) -> None:
        """End every stream."""
        with self._pushed:
            self._cuts += 1
            self._pushed.notify_all()

    def _turns(self, context: Any) -> Iterator[None]:
        """Yield at first and at each push, until the streams are cut or the client has gone."""
        pushes, cuts = self._pushes, self._cuts

        def awake() -> None:
            with self._pushed:
                self._pushed.notify_all()

        context.add_callback(awake)
        while True:
            yield
            with self._pushed:
                self._pushed.wait_for(
                    lambda: (
                        (self._pushes, self._cuts) != (pushes, cuts)  # noqa: B023 - of this turn
                        or not context.is_active()
                    )
                )
                if self._cuts != cuts or not context.is_active():
                    return
                pushes = self._pushes

    def _svids(self, _: Any, context: Any) -> Iterator[Any]:
        self._check(context)
        for _turn in self._turns(context):
            if self.svid is None:
                context.abort(grpc.StatusCode.PERMISSION_DENIED, "no identity issued")
                return
            yield _answer(*self.svid)

    def _bundles(self, _: Any, context: Any) -> Iterator[Any]:
        self._check(context)
        for _turn in self._turns(context):
            self.go.wait(60)
            yield workload_pb2.JWTBundlesResponse(bundles=self.bundles)

    def close(self) -> None:
        """Stop."""
        self.cut()
        self._server.stop(0).wait()


def _answer(svid: Svid, authority: Authority) -> Any:
    der = Encoding.DER
    return workload_pb2.X509SVIDResponse(
        svids=[
            workload_pb2.X509SVID(
                spiffe_id=_uri(svid),
                x509_svid=svid.certificate.public_bytes(der),
                x509_svid_key=_key(svid),
                bundle=authority.certificate.public_bytes(der),
            )
        ]
    )


def _uri(svid: Svid) -> str:
    names = svid.certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.UniformResourceIdentifier)[0]


def _key(svid: Svid) -> bytes:
    key = load_pem_private_key(svid.key_pem.encode(), None)
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
