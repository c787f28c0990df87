"""Takes the server's certificate and CAs from the SPIFFE agent on this machine."""

import logging
import threading
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from authz.adapters.agent_stream import AgentCall, AgentError, AgentStream
from authz.adapters.tls_material import TlsError, TlsFiles

if TYPE_CHECKING:  # an optional extra
    from spiffe.workloadapi.x509_context import X509Context

LOOK_SECONDS: Final = 1.0  # between looks at what the agent has pushed
TIMEOUT_SECONDS: Final = 5.0  # of a call that takes one answer
CONFIRM_SECONDS: Final = 300.0  # after which an agent that has pushed nothing is asked
_log: Final = logging.getLogger("authz.tls")


class SvidSource:
    """The last SVID from the SPIFFE agent on this machine.

    While the agent is unreachable, the last valid SVID stays in use.
    """

    def __init__(self, address: str) -> None:
        """Ask for the first SVID. Raises TlsError: without an SVID there is no start."""
        call = AgentCall("fetch_x509_context", "stream_x509_contexts", _files)
        self._stream = AgentStream(address, call, TIMEOUT_SECONDS, CONFIRM_SECONDS)
        self._stopping = threading.Event()
        try:
            self._files = self._stream.fetch()
        except AgentError as error:
            raise TlsError(str(error)) from None

    def start(self) -> None:
        """Begin to follow the agent."""
        threading.Thread(target=self._run, name="workload api", daemon=True).start()

    def files(self) -> TlsFiles:
        """Return the certificate, its key and the CAs of its trust domain."""
        return self._files

    def stop(self) -> None:
        """Stop following the agent."""
        self._stopping.set()

    def _run(self) -> None:
        told: set[str] = set()  # of this outage: each cause once
        while not self._stopping.wait(LOOK_SECONDS):
            try:
                self._files = self._stream.newest()
                told.clear()
            except AgentError as error:
                if (why := str(error)) not in told:
                    told.add(why)
                    _log.warning("%s: the last valid certificate stays in use", why)
        self._stream.close()


def _files(context: "X509Context") -> TlsFiles:
    svid = context.default_svid
    # Only from our own trust domain: another domain's CA must not vouch for our names.
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    authorities = [] if bundle is None else bundle.x509_authorities
    return TlsFiles(
        b"".join(certificate.public_bytes(Encoding.PEM) for certificate in svid.cert_chain),
        svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()),
        b"".join(sorted(authority.public_bytes(Encoding.PEM) for authority in authorities)),
    )
