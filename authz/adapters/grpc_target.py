"""Says to gRPC where a server is: at addresses that were checked, and under its own name.

gRPC would look the name up itself, and connect to any address that the answer has.
"""

from authz.adapters.http_connection import checked_addresses
from authz.core.urls import origin

Options = tuple[tuple[str, str], ...]


def grpc_target(url: str) -> tuple[str, Options]:
    """Look up a URL's host; return a channel's target, and the options that name the server.

    TLS verifies that name. Takes as long as the system's resolver does. Raises FetchError, also
    for an address of a refused kind.
    """
    _, host, port = origin(url)
    # A target has one family. IPv4 within IPv6 (RFC 4291 section 2.5.5.2) needs no IPv6 here.
    places = [
        f"[{address if ':' in address else f'::ffff:{address}'}]:{port}"
        for address in dict.fromkeys(checked_addresses(host, port))
    ]
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"ipv6:{','.join(places)}", (("grpc.default_authority", name),)
