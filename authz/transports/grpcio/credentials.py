"""Gives grpcio our certificate, as it changes."""

import grpc

from authz.adapters.tls import ServerTls, TlsMaterial


def server_credentials(tls: ServerTls) -> grpc.ServerCredentials:
    """Return credentials for a port, which ask for a change at every handshake."""
    given = tls.material

    def changed() -> grpc.ServerCertificateConfiguration | None:
        nonlocal given
        material = tls.refreshed()
        if material is given:
            return None
        given = material
        return _configuration(material)

    return grpc.dynamic_ssl_server_credentials(
        _configuration(given),
        changed,  # type: ignore[arg-type] # None, for no change, is documented
        require_client_authentication=True,
    )


def _configuration(material: TlsMaterial) -> grpc.ServerCertificateConfiguration:
    pair = (material.private_key, material.certificate)
    return grpc.ssl_server_certificate_configuration([pair], material.client_ca)
