"""A real rsyslog on loopback, without privileges: it writes what it receives to files."""

import os
import re
import shutil
import signal
import socket
import subprocess
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, NamedTuple

import pytest

from lab.ca import Svid
from support.world import PATIENCE_SECONDS, wait_until

UNPACKED: Final = Path(__file__).parents[2] / ".venv-rsyslog"
MAIN: Final = "main.conf"
# Direct queues: a message is in the files before the next is read, and before a close is seen.
_CONFIG: Final = """
global(workDirectory="{folder}" maxMessageSize="64k" {tls})
main_queue(queue.type="Direct")
module(load="imtcp" {driver})
template(name="line" type="string" string="%msg%\\n")
template(name="fields" type="string" string="{fields}\\n")
input(type="imtcp" address="127.0.0.1" port="{port}" listenPortFileName="{folder}/port")
action(type="omfile" file="{folder}/fields" template="fields")
"""
_FIELDS: Final = (
    "%pri% %protocol-version% %timestamp:::date-rfc3339% %hostname% %app-name% %procid% %msgid% "
    "%structured-data% %msg%"
)
_SEQUENCE_ID: Final = re.compile(r'\[meta sequenceId="([0-9]+)"\]')


class Message(NamedTuple):
    """A message, as rsyslog has read it."""

    pri: str
    version: str
    timestamp: str
    hostname: str
    app_name: str
    procid: str
    msgid: str
    structured_data: str
    msg: str

    @property
    def sequence_id(self) -> int:
        """Return the number that the originator gave it."""
        found = _SEQUENCE_ID.search(self.structured_data)
        assert found, self.structured_data
        return int(found[1])


class RsyslogTls(NamedTuple):
    """TLS of a receiver: its driver, its certificate, and the CA of clients, if it asks."""

    driver: str
    server: Svid
    client_ca: Path | None = None


def rsyslog_command() -> tuple[list[str], dict[str, str]]:
    """Return rsyslog's command and environment. Skips the test, or fails it, without rsyslog."""
    program = UNPACKED / "usr/sbin/rsyslogd"
    if program.exists():
        folders = [str(folder) for folder in UNPACKED.glob("usr/lib/*-linux-gnu")]
        modules = ":".join(f"{folder}/rsyslog" for folder in folders)
        return [str(program), "-M", modules], {"LD_LIBRARY_PATH": ":".join(folders)}
    if installed := shutil.which("rsyslogd", path=f"{os.environ['PATH']}:/usr/sbin"):
        return [installed], {}
    message = "no rsyslogd: install Debian's rsyslog and rsyslog-openssl, or see .ci/run"
    if os.environ.get("AUTHZ_NEEDS_RSYSLOG"):
        pytest.fail(message)
    pytest.skip(message)


def fields_of(line: str) -> Message:
    """Return a line of the file of fields, whose elements of STRUCTURED-DATA may hold spaces."""
    *head, rest = line.split(" ", 7)
    end = rest.index("] ") + 1 if rest.startswith("[") else rest.index(" ")
    return Message._make([*head, rest[:end], rest[end + 1 :]])


class Rsyslog(AbstractContextManager["Rsyslog"]):
    """A receiver that can be stopped and started again, at the same address.

    Attributes:
        address: its host:port.
    """

    def __init__(self, folder: Path, tls: RsyslogTls | None = None, config: str = "") -> None:
        """Start; ``config`` replaces the config, with {port} and {folder}."""
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._command, self._environment = rsyslog_command()
        self._config, self._tls = config or _CONFIG, tls
        self._port = 0
        self.start()
        self.address = f"127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, at the same port as before."""
        main = self.folder / MAIN
        main.write_text(self._written())
        options = ["-n", "-f", str(main), "-i", str(self.folder / "pid")]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._command, *options], env=self._environment, stdout=log, stderr=log
            )
        wait_until(self._listens)

    def _listens(self) -> bool:
        """Tell whether it accepts connections; it tells its port only where it has chosen it."""
        told = self.folder / "port"
        self._port = self._port or int((told.exists() and told.read_text()) or 0)
        with socket.socket() as probe:
            return self._port > 0 and not probe.connect_ex(("127.0.0.1", self._port))

    def _written(self) -> str:
        tls, driver = "", ""
        if self._tls is not None:
            server, ca = self._tls.server, self._tls.client_ca
            tls = (
                f'DefaultNetstreamDriverCertFile="{server.certificate_path}"'
                f' DefaultNetstreamDriverKeyFile="{server.key_path}"'
                f' DefaultNetstreamDriverCAFile="{ca or server.certificate_path}"'
            )
            mode = "x509/certvalid" if ca else "anon"
            name = self._tls.driver
            driver = (
                f'StreamDriver.Name="{name}" StreamDriver.Mode="1" StreamDriver.AuthMode="{mode}"'
            )
        return self._config.format(
            folder=self.folder, port=self._port, fields=_FIELDS, tls=tls, driver=driver
        )

    def messages(self) -> list[Message]:
        """Return the messages that have arrived, those that came twice included."""
        path = self.folder / "fields"
        if not path.exists():
            return []
        return [fields_of(line) for line in path.read_text().split("\n")[:-1]]

    def lines(self) -> list[str]:
        """Return the messages' texts, of each number the first one, as a careful reader would."""
        first = {(one.procid, one.sequence_id): one.msg for one in reversed(self.messages())}
        return list(reversed(first.values()))

    def stop(self, how: signal.Signals = signal.SIGTERM) -> None:
        """Stop; by SIGKILL it loses what it has not read."""
        self._process.send_signal(how)
        self._process.wait(PATIENCE_SECONDS)

    def suspend(self) -> None:
        """Let it read nothing more; its machine still takes what is sent."""
        self._process.send_signal(signal.SIGSTOP)

    def log(self) -> str:
        """Return what it says of itself."""
        return (self.folder / "log").read_text()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        if self._process.poll() is None:
            self.stop()
