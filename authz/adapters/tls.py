"""Mutual TLS on our own port: our certificate, and the proxies that may call (X509-SVID section 5).

The files are read again at every handshake and every second. So a renewed certificate needs no
restart, and connections with certificates of a CA that is no longer trusted end. Symbolic links are
followed, as Kubernetes swaps them. Files are used when they have not changed for a second, and only
if they fit together and a proxy can take them.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final

from cryptography import x509

from authz.adapters.files import (
    STABLE_SECONDS,
    BeingWrittenError,
    FileState,
    StabilityTimer,
    read_whole,
)
from authz.adapters.tls_material import BESIDE, TlsError, TlsFiles, TlsMaterial
from authz.adapters.tls_settings import TlsSettings
from authz.adapters.tls_svid import SvidSource
from authz.core.spiffe import SpiffeId, SpiffePattern

__all__ = ["ServerTls", "TlsError", "TlsMaterial", "TlsStatus"]

WATCH_SECONDS: Final = 1.0  # between checks, if no handshake causes one
MAX_FILE_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
# A CA's clock may be ahead of ours, and csi-driver-spiffe's certificates begin now: nobody is told
# of a certificate that begins so soon. It is taken then.
CLOCK_SKEW_SECONDS: Final = 60.0
_log: Final = logging.getLogger("authz.tls")


@dataclass(frozen=True, slots=True)
class TlsStatus:
    """The state of our certificate.

    Attributes:
        taken: changed certificates that came into use.
        refused: changed certificates that were not used, as they stayed invalid for seconds.
        not_after: unix seconds, when the certificate in use expires.
    """

    taken: int
    refused: int
    not_after: float


class ServerTls:
    """Our side of the connections, and the callers that are allowed on the other side."""

    def __init__(self, settings: TlsSettings, section: str = "server.tls") -> None:
        """Read the files; ``section`` of the config names them in the log. Raises TlsError."""
        self._settings = settings
        self._section = section
        self._callers = [SpiffePattern.parse(text) for text in settings.allowed_callers]
        self._lock = threading.Lock()  # handshakes and the watch; no check waits here
        self._rest = StabilityTimer()
        self._persistence = StabilityTimer()  # of a fault: a moment between two writes is none
        self._fault: object = None  # the last fault that was logged, and its files
        self._old_age = ""  # likewise, of the certificate in use
        self._closing = threading.Event()
        self._taken = 0
        self._refused = 0
        api = settings.workload_api
        self._workload_api = SvidSource(api) if api is not None else None
        files = self._read()
        self._seen: TlsFiles | None = files  # those in force, None if only their CAs are
        self._material = files.checked()
        self._examined: tuple[TlsFiles, TlsMaterial | TlsError] = (files, self._material)

    def status(self) -> TlsStatus:
        """Return the state of our certificate."""
        return TlsStatus(self._taken, self._refused, self._material.not_after)

    @property
    def authorities(self) -> tuple[x509.Certificate, ...]:
        """Return the CAs of callers' certificates: a different object if anything changed."""
        return self._material.authorities

    @property
    def material(self) -> TlsMaterial:
        """Return the material that handshakes use now: a different object if anything changed."""
        return self._material

    def refreshed(self) -> TlsMaterial:
        """Check for a change, use it, and return the material of further handshakes.

        Never raises.
        """
        self._refresh()
        return self._material

    def start(self) -> None:
        """Begin to check for changes, also without handshakes."""
        if self._workload_api is not None:
            self._workload_api.start()
        for fault in self._material.faults:
            _log.error("no proxy can connect: %s: %s", self._material.path, fault)
        threading.Thread(target=self._watch, name="tls", daemon=True).start()

    def _watch(self) -> None:
        while True:
            self._refresh()
            self._tell_age()
            if self._closing.wait(WATCH_SECONDS):
                return

    def _tell_age(self) -> None:
        """Log once that the certificate in use is not valid now."""
        fault = self._material.fault_now()
        if fault and fault != self._old_age:
            _log.error("no proxy can connect: %s", fault)
        self._old_age = fault

    def _read(self) -> TlsFiles:
        settings = self._settings
        if self._workload_api is not None:
            return self._workload_api.files()
        paths = {key: str(getattr(settings, key)) for key in BESIDE}
        found: list[tuple[bytes, FileState]] = []
        for key, path in paths.items():
            try:
                found.append(read_whole(path, MAX_FILE_BYTES))
            except OSError as error:
                raise TlsError(f"{path} can't be read: {error.strerror}", key) from error
        (certificate, private_key, client_ca), states = zip(*found, strict=True)
        return TlsFiles(certificate, private_key, client_ca, states, paths)

    def _is_at_rest(self, files: TlsFiles) -> bool:
        """Tell whether the files are at rest: half a bundle is valid PEM, but lacks CAs."""
        has_rested = self._rest.is_long_enough((files, files.states), time.monotonic())
        ages = [state.untouched_seconds() for state in files.states]
        return has_rested or all(age >= STABLE_SECONDS for age in ages)

    def close(self) -> None:
        """Stop checking for changed certificates."""
        self._closing.set()
        if self._workload_api is not None:
            self._workload_api.stop()

    def _refresh(self) -> None:
        """Use a changed certificate if it is valid. Never raises: that would end a connection."""
        files = None
        with self._lock:
            try:
                files = self._read()
                if files == self._seen:
                    self._fault = None
                elif self._is_at_rest(files):
                    self._use(files)
            except TlsError as error:
                if not isinstance(error.__cause__, BeingWrittenError):
                    self._refuse(error.of(self._section), files)
            else:
                self._persistence = StabilityTimer()

    def _use(self, files: TlsFiles) -> None:
        """Put changed files into use. Raises TlsError for those that can't be."""
        if files != self._examined[0]:  # once: clients may connect as often as they like meanwhile
            self._examined = (files, self._examine(files))
        material = self._examined[1]
        if isinstance(material, TlsError):
            raise material.with_traceback(None)
        if 0 < material.seconds_to_begin < CLOCK_SKEW_SECONDS:
            return
        material.check_replaces(self._material)
        self._seen, self._material, self._fault = files, material, None
        self._taken += 1
        _log.info("certificate reloaded")

    def _examine(self, files: TlsFiles) -> TlsMaterial | TlsError:
        """Return what changed files hold, or why that can't be used.

        Their CAs count at once, whatever the certificate is: a withdrawn one must not outlive its
        file. Then the files of before are changed files too, should they come back.
        """
        try:
            if files.client_ca != self._material.client_ca:
                self._material, self._seen = self._material.with_authorities(files), None
            return files.checked()
        except TlsError as error:
            return error

    def _refuse(self, fault: str, files: TlsFiles | None) -> None:
        """Log and count an invalid change that stays, once; None for files that can't be read."""
        found = (fault, files)
        is_lasting = self._persistence.is_long_enough(found, time.monotonic())
        if is_lasting and found != self._fault:
            self._fault = found
            self._refused += 1
            _log.error("certificate not reloaded; the last valid one stays in use: %s", fault)

    def allows(self, caller: SpiffeId) -> bool:
        """Tell whether a proxy with this SPIFFE ID may call."""
        return any(pattern.matches(caller) for pattern in self._callers)
