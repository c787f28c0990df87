"""Records by OTLP, to receivers with the service of opentelemetry-proto."""

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord

from authz.adapters.audit.otlp_sink import OtlpSink
from authz.adapters.audit.receiver import ReceiverError
from authz.adapters.audit.sink import Sink
from authz.adapters.receiver_settings import OtlpSettings
from lab.ca import Authority
from support.conformance.audit_sink import AuditSinkConformance, Destination
from support.otlp_receiver import Answer, GrpcReceiver, grpc_receiver, in_part, later, take


def grpc_settings(receiver: GrpcReceiver, **changes: object) -> OtlpSettings:
    """Return the settings for a receiver."""
    plain = receiver.endpoint.startswith("http:")
    given = {"endpoint": receiver.endpoint, "insecure": plain, "timeout": "5s"}
    return OtlpSettings.model_validate({**given, **changes})


class Collector:
    """A receiver that goes away and comes back."""

    def __init__(self, receiver: GrpcReceiver, sink: Sink) -> None:
        """Take both."""
        self._receiver, self.sink = receiver, sink

    def lines(self) -> list[str]:
        """Return the bodies that arrived."""
        return [record.body.string_value for record in self._receiver.records()]

    def break_(self) -> None:
        """Stop the receiver."""
        self._receiver.stop()

    def mend(self) -> None:
        """Start it again."""
        self._receiver.start()


class TestGrpc(AuditSinkConformance):
    """OTLP/gRPC."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        with grpc_receiver() as receiver:
            yield Collector(receiver, OtlpSink(grpc_settings(receiver), "otlp"))


class TestGrpcWithTls(AuditSinkConformance):
    """OTLP/gRPC with mutual TLS."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        authority = Authority(folder / "pki")
        server, client = (
            authority.issue(dns=("localhost",)),
            authority.issue("spiffe://corp.example/a"),
        )
        with grpc_receiver((server, authority.path)) as receiver:
            shown = {
                "certificate": str(client.certificate_path),
                "private_key": str(client.key_path),
            }
            tls = {"ca_file": str(authority.path), "client": shown}
            yield Collector(receiver, OtlpSink(grpc_settings(receiver, tls=tls), "otlp"))
