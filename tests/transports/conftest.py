"""Runs tests on every transport, where they ask for it."""

import pytest

from authz.edge.settings import TransportKind
from support import ports


@pytest.fixture(params=list(TransportKind))
def each_transport(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> TransportKind:
    """Give each kind of transport in turn: ``listening`` listens with it."""
    kind = TransportKind(request.param)
    monkeypatch.setattr(ports, "transport_kind", kind)
    return kind
