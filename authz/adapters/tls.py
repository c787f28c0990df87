"""Mutual TLS on our own port: our certificate, and the proxies that may ask (X509-SVID section 5).

The files are read again at every handshake and every second, so that a renewed certificate needs no
restart, and the connections of a CA that is no longer trusted end; symbolic links are followed, as
Kubernetes swaps them. Files are taken once they rest for a second, and only if they fit together.
"""

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from authz.adapters.files import (
    STABLE_SECONDS,
    BeingWrittenError,
    FileState,
    StabilityTimer,
    read_whole,
)
from authz.adapters.tls_settings import TlsSettings
from authz.core.extras import missing_extra
from authz.core.spiffe import SpiffeId, SpiffePattern
from authz.core.told_error import ToldError

WATCH_SECONDS: Final = 1.0  # between looks, when no handshake causes one
MAX_FILE_BYTES: Final = 8 * 1024 * 1024  # all CAs that the web trusts are 0.2
WORKLOAD_API_POLL_SECONDS: Final = 5.0  # a call on this machine, of some 2 ms
WORKLOAD_API_TIMEOUT_SECONDS: Final = 5.0
_log: Final = logging.getLogger("authz.tls")


class TlsError(ToldError):
    """Signals that certificate, key and CA are invalid or do not fit; the message says why."""


@dataclass(frozen=True, slots=True)
class TlsMaterial:
    """Certificate, key and CAs that fit together, in PEM, and parsed.

    Attributes:
        certificate: our certificate, and its intermediates after it.
        private_key: its key.
        client_ca: the CAs that callers' certificates come from.
        not_after: when our certificate ends, unix seconds.
        authorities: the same CAs, parsed.
    """

    certificate: bytes
    private_key: bytes
    client_ca: bytes
    not_after: float
    authorities: tuple[x509.Certificate, ...]


@dataclass(frozen=True, slots=True)
class _TlsFiles:
    """The files' contents, which tell a change, and their states, which tell whether they rest."""

    certificate: bytes
    private_key: bytes
    client_ca: bytes
    states: tuple[FileState, ...] = field(default=(), compare=False)

    def checked(self) -> TlsMaterial:
        """Parse the files, and require that key and certificate fit. Raises TlsError."""
        form = (Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        try:
            certificate, *_ = x509.load_pem_x509_certificates(self.certificate)
            authorities = tuple(x509.load_pem_x509_certificates(self.client_ca))
            key = load_pem_private_key(self.private_key, None).public_key().public_bytes(*form)
            is_pair = key == certificate.public_key().public_bytes(*form)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise TlsError(f"invalid PEM: {error}") from None
        if not is_pair:
            raise TlsError("the private key does not belong to the certificate")
        not_after = certificate.not_valid_after_utc.timestamp()
        return TlsMaterial(
            self.certificate, self.private_key, self.client_ca, not_after, authorities
        )


class _WorkloadApi:
    """The last SVID that the SPIFFE agent on this machine gave us, fetched at intervals.

    Each fetch is a call of its own: a stream that ends for good can't stop the renewal, and while
    the agent is away the last good SVID stays.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._stopping = threading.Event()
        self._files = self._fetched()  # raises TlsError: without an SVID there is no start

    def start(self) -> None:
        threading.Thread(target=self._run, name="workload api", daemon=True).start()

    def files(self) -> _TlsFiles:
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

    def _fetched(self) -> _TlsFiles:
        try:
            from spiffe import WorkloadApiClient  # noqa: PLC0415 - an optional extra
        except ImportError:
            raise TlsError(missing_extra("spiffe", "the Workload API needs")) from None
        try:
            seconds = WORKLOAD_API_TIMEOUT_SECONDS
            with WorkloadApiClient(self._address, default_timeout=seconds) as client:
                context = client.fetch_x509_context()
            svid = context.default_svid
            # Of our own trust domain only: another's CA must not vouch for names of ours.
            bundle = context.x509_bundle_set.get_bundle_for_trust_domain(
                svid.spiffe_id.trust_domain
            )
            authorities = [] if bundle is None else bundle.x509_authorities
            return _TlsFiles(
                b"".join(certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain),
                svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
                b"".join(sorted(authority.public_bytes(Encoding.PEM) for authority in authorities)),
            )
        except Exception as error:  # noqa: BLE001 - the library raises gRPC's and its own
            raise TlsError(f"the Workload API: {type(error).__name__}") from None


@dataclass(frozen=True, slots=True)
class TlsStatus:
    """The state of our certificate.

    Attributes:
        taken: changed certificates that were taken.
        refused: changed certificates that were not taken, as they were invalid.
        not_after: unix seconds, when the certificate in use ends.
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
        """Return the CAs of callers' certificates: another object when anything changed."""
        return self._material.authorities

    @property
    def material(self) -> TlsMaterial:
        """Return what handshakes use now: another object when anything changed."""
        return self._material

    def refreshed(self) -> TlsMaterial:
        """Look for a change, take it, and return what handshakes use from now on. Never raises."""
        self._refresh()
        return self._material

    def start(self) -> None:
        """Begin to look for changes, also without handshakes."""
        if self._workload_api is not None:
            self._workload_api.start()
        threading.Thread(target=self._watch, name="tls", daemon=True).start()

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            self._refresh()

    def _read(self) -> _TlsFiles:
        settings = self._settings
        if self._workload_api is not None:
            return self._workload_api.files()
        paths = (settings.certificate, settings.private_key, settings.client_ca)
        found: list[tuple[bytes, FileState]] = []
        for path in map(str, paths):
            try:
                found.append(read_whole(path, MAX_FILE_BYTES))
            except OSError as error:
                raise TlsError(f"{path} can't be read: {error.strerror}") from error
        (certificate, key, client_ca), states = zip(*found, strict=True)
        return _TlsFiles(certificate, key, client_ca, states)

    def _is_at_rest(self, files: _TlsFiles) -> bool:
        """Tell whether nobody is writing the files: half a bundle is valid PEM, but lacks CAs."""
        has_rested = self._rest.is_long_enough((files, files.states), time.monotonic())
        ages = [state.untouched_seconds() for state in files.states]
        return has_rested or all(age >= STABLE_SECONDS for age in ages)

    def close(self) -> None:
        """Stop looking for changed certificates."""
        self._closing.set()
        if self._workload_api is not None:
            self._workload_api.stop()

    def _refresh(self) -> None:
        """Take a changed certificate if it is valid. Never raises: that would end a connection."""
        with self._lock:
            try:
                files = self._read()
                self._fault = ""
                if not self._is_at_rest(files) or files == self._seen:
                    return
                self._seen = files  # a bad change is told once
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
        """Tell whether a proxy with this SPIFFE ID may ask."""
        return any(pattern.matches(caller) for pattern in self._callers)
