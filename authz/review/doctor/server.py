"""Finds what is wrong with a server that no proxy asks, or that runs another config."""

from collections.abc import Iterator

from authz.config import Config
from authz.review.doctor.case import Finding, Product, Severity
from authz.wiring.policy_version import compute_policy_version

_ABOUT = "the server"


def server_findings(
    config: Config, policy_version: str, silent_workers: int, presented: int
) -> Iterator[Finding]:
    """Yield what is wrong with a server that said its version, and how many kinds of checks."""
    if policy_version != compute_policy_version(config):
        yield Finding(
            Severity.WARNING,
            "other_config",
            _ABOUT,
            "it runs another version of this config: what is said here of profiles and routes may "
            "not be what it does",
            here="name the config that it reads; the log says whether a change was refused",
        )
    if silent_workers:
        cause = f"{silent_workers} of its workers did not answer"
        yield Finding(Severity.NOTE, "silent_workers", _ABOUT, cause)
    if not presented:
        yield Finding(
            Severity.ERROR,
            "never_asked",
            _ABOUT,
            "no proxy has asked anything since the start: send a request through the proxy; if "
            "this stays, the proxy does not reach us",
            tuple(_unreached(config)),
        )


def _unreached(config: Config) -> Iterator[tuple[Product, str]]:
    """Yield what usually keeps a proxy from reaching us."""
    listen = ", ".join(config.server.listen)
    needs = "http2_protocol_options"
    if any(address.startswith("unix:") for address in config.server.listen):
        needs += "; its user must be able to enter the socket's folder and to write to the socket"
    yield Product.ENVOY, f"its cluster has to name {listen}, with {needs}"
    if config.server.tls is not None:
        tls = (
            "alpn_protocols: [h2], a certificate that server.tls.allowed_callers lists, and our CA"
        )
        yield Product.ENVOY, f"its UpstreamTlsContext needs {tls}"
    yield Product.ISTIO, "the Service's port has to be named grpc, and the provider its full name"
    gateway = "the Service's port needs appProtocol: kubernetes.io/h2c, unless it speaks TLS"
    yield Product.ENVOY_GATEWAY, gateway
