"""Records by syslog, to a real rsyslog."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from authz.adapters.audit.receiver import ReceiverError
from authz.adapters.audit.settings import SyslogSinkSettings
from authz.adapters.audit.sink import Sink
from authz.adapters.audit.syslog_sink import SyslogSink
from lab.ca import Authority
from support.conformance.audit_sink import AuditSinkConformance, Destination
from support.rsyslog import Rsyslog, RsyslogTls


class Syslog:
    """A receiver that goes away and comes back."""

    def __init__(self, rsyslog: Rsyslog, sink: Sink) -> None:
        """Take both."""
        self._rsyslog, self.sink = rsyslog, sink

    def lines(self) -> list[str]:
        """Return what arrived."""
        return self._rsyslog.lines()

    def break_(self) -> None:
        """Stop the receiver."""
        self._rsyslog.stop()

    def mend(self) -> None:
        """Start it again."""
        self._rsyslog.start()


class TestTcp(AuditSinkConformance):
    """Plain TCP."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        with Rsyslog(folder / "rsyslog") as rsyslog:
            settings = SyslogSinkSettings(address=rsyslog.address, insecure=True)
            yield Syslog(rsyslog, SyslogSink(settings))


class TestTls(AuditSinkConformance):
    """TLS."""

    @contextmanager
    def destination(self, folder: Path) -> Iterator[Destination]:
        """Return one."""
        authority = Authority(folder / "pki")
        tls = RsyslogTls("ossl", authority.issue(dns=("localhost",)))
        with Rsyslog(folder / "rsyslog", tls) as rsyslog:
            yield Syslog(rsyslog, SyslogSink(settings_of(rsyslog, authority)))


def settings_of(
    rsyslog: Rsyslog, authority: Authority, host: str = "localhost"
) -> SyslogSinkSettings:
    """Return the settings for a receiver whose CA this is."""
    address = f"{host}:{rsyslog.address.rpartition(':')[2]}"
    return SyslogSinkSettings.model_validate(
        {"address": address, "tls": {"ca_file": str(authority.path)}}
    )
