"""Mutual TLS on our own port: our certificate, and the proxies that may call (X509-SVID section 5).

The files are read again at every handshake and every second. So a renewed certificate needs no
restart, and connections with certificates of a CA that is no longer trusted end. Symbolic links are
followed, as Kubernetes swaps them. Files are used when they have not changed for a second, and only
if they fit together.
"""

import logging
import threading
import time
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from authz.adapters.files import (
    STABLE_SECONDS,
    BeingWrittenError,
    FileState,
    StabilityTimer,
    read_whole,
)
from authz.adapters.tls_material import BESIDE, TlsError, TlsFiles, TlsMaterial
from authz.adapters.tls_settings import TlsSettings
from authz.adapters.workload_api import why_failed
from authz.core.extras import missing_extra
from authz.core.spiffe import SpiffeId, SpiffePattern

__all__ = ["ServerTls", "TlsError", "TlsMaterial", "TlsStatus"]

WATCH_SECONDS: Final = 1.0  # between checks, if no handshake causes one
MAX_FILE_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
WORKLOAD_API_POLL_SECONDS: Final = 5.0  # a call on this machine, of some 2 ms
WORKLOAD_API_TIMEOUT_SECONDS: Final = 5.0
_log: Final = logging.getLogger("authz.tls")


class _WorkloadApi:
    """The last SVID from the SPIFFE agent on this machine, fetched at intervals.

    Each fetch is a separate call, so that a stream that ends for good can't stop the renewal. While
    the agent is unreachable, the last valid SVID stays in use.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopping = threading.Event()
        self._files = self._fetched()  # raises TlsError: without an SVID there is no start

    def start(self) -> None:
        threading.Thread(target=self._run, name="workload api", daemon=True).start()

    def files(self) -> TlsFiles:
        return self._files

    def stop(self) -> None:
        self._stopping.set()

    def _run(self) -> None:
        was_good = True
        while not self._stopping.wait(WORKLOAD_API_POLL_SECONDS):
            try:
                self._files = self._fetched()
                was_good = True
            except TlsError as error:
                if was_good:
                    _log.warning("%s: the last valid certificate stays in use", error)
                was_good = False

    def _fetched(self) -> TlsFiles:
        try:
            from spiffe import WorkloadApiClient  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise TlsError(missing_extra("spiffe", "the Workload API needs")) from None
        seconds = WORKLOAD_API_TIMEOUT_SECONDS
        try:
            with WorkloadApiClient(self._address, default_timeout=seconds) as client:
                context = client.fetch_x509_context()
            svid = context.default_svid
            # Only from our own trust domain: another domain's CA must not vouch for our names.
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(
                svid.spiffe_id.trust_domain
            )
            authorities = [] if bundle is None else bundle.x509_authorities
            return TlsFiles(
                b"".join(certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain),
                svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                b"".join(sorted(authority.public_bytes(Encoding.PEM) for authority in authorities)),
            )
        except Exception as error:  # noqa: BLE001 - the library raises gRPC's and its own
            raise TlsError(why_failed(self._address, error, seconds)) from None


@dataclass(frozen=True, slots=True)
class TlsStatus:
    """The state of our certificate.

    Attributes:
        taken: changed certificates that came into use.
        refused: changed certificates that were not used, as they were invalid.
        not_after: unix seconds, when the certificate in use expires.
    """

    taken: int
    refused: int
    not_after: float


class ServerTls:
    """Our side of the connections, and the callers that are allowed on the other side."""

    def __init__(self, settings: TlsSettings) -> None:
        """Read the files. Raises TlsError."""
        self._settings = settings
        self._callers = [SpiffePattern.parse(text) for text in settings.allowed_callers]
        self._lock = threading.Lock()  # handshakes and the watch; no check waits here
        self._rest = StabilityTimer()
        self._fault = ""  # the last fault that was logged
        self._closing = threading.Event()
        self._taken = 0
        self._refused = 0
        api = settings.workload_api
        self._workload_api = _WorkloadApi(api) if api is not None else None
        self._seen = self._read()
        self._material = self._seen.checked()

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
        threading.Thread(target=self._watch, name="tls", daemon=True).start()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            self._refresh()

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
        with self._lock:
            try:
                files = self._read()
                self._fault = ""
                if not self._is_at_rest(files) or files == self._seen:
                    return
                self._seen = files  # an invalid change is logged once
                self._material = files.checked()
            except TlsError as error:
                if not isinstance(error.__cause__, BeingWrittenError):
                    self._refuse(str(error))
                return
            self._taken += 1
            _log.info("certificate reloaded")

    def _refuse(self, fault: str) -> None:
        """Log and count an invalid change, once."""
        if fault != self._fault:
            self._fault = fault
            self._refused += 1
            _log.error("certificate not reloaded; the last valid one stays in use: %s", fault)

    def allows(self, caller: SpiffeId) -> bool:
        """Tell whether a proxy with this SPIFFE ID may call."""
        return any(pattern.matches(caller) for pattern in self._callers)
