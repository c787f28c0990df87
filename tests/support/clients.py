"""Clients that people use, with HTTP/2 of their own: each makes the same calls, as it can.

grpcio (gRPC's C core), grpc-go, nghttp (libnghttp2) and httpx (the h2 library). What a client does
not show is left out of its outcomes: httpx and nghttp take no trailers for statuses.
"""

import base64
import gzip
import json
import os
import re
import shutil
import ssl
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import grpc
import httpx
import pytest

from support.frames import framed
from support.go_tools import MISSING, go_tool
from support.world import PATIENCE_SECONDS

ROOT: Final = Path(__file__).parents[2]
PREFIX_BYTES: Final = 5  # of a message
NGHTTP2: Final = ROOT / ".venv-nghttp2"  # where .ci/run unpacks Debian's package


@dataclass(frozen=True, slots=True)
class Files:
    """The files of a client of a TLS port: authorities, certificate, key."""

    ca: Path
    certificate: Path
    key: Path

    @classmethod
    def write(cls, folder: Path, ca: bytes, certificate: str, key: str) -> "Files":
        """Write them."""
        files = cls(folder / "client-ca.pem", folder / "client.pem", folder / "client.key")
        files.ca.write_bytes(ca)
        files.certificate.write_text(certificate)
        files.key.write_text(key)
        return files


@dataclass(frozen=True, slots=True)
class Place:
    """Where a server listens: unix:/path or host:port, with TLS where there are files for it."""

    address: str
    files: Files | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """A call to make; ``cancelled_after`` so many seconds, by grpc-go."""

    path: str
    message: bytes
    metadata: Mapping[str, str] = field(default_factory=dict)
    timeout: float = PATIENCE_SECONDS
    cancelled_after: float = 0.0
    is_gzipped: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a call: gRPC's code, and the message, b"" with an error."""

    code: int
    message: bytes = b""


Client = Callable[[Place, Sequence[Call]], list[Outcome]]


# grpcio.


@contextmanager
def grpcio_channel(place: Place) -> Iterator[grpc.Channel]:
    """Open a connection of its own."""
    options = (
        ("grpc.ssl_target_name_override", "localhost"),
        ("grpc.use_local_subchannel_pool", 1),
    )
    if place.files is None:
        with grpc.insecure_channel(place.address, options[1:]) as channel:
            yield channel
        return
    files = place.files
    credentials = grpc.ssl_channel_credentials(
        files.ca.read_bytes(), files.key.read_bytes(), files.certificate.read_bytes()
    )
    with grpc.secure_channel(place.address, credentials, options) as channel:
        yield channel


def grpcio(place: Place, calls: Sequence[Call]) -> list[Outcome]:
    """Make calls one after the other, on one connection."""
    with grpcio_channel(place) as channel:
        return [by_grpcio(channel, call) for call in calls]


def by_grpcio(channel: grpc.Channel, call: Call) -> Outcome:
    """Make a call."""
    compression = grpc.Compression.Gzip if call.is_gzipped else None
    method = channel.unary_unary(call.path, bytes, bytes)
    metadata = tuple(call.metadata.items())
    try:
        return Outcome(
            0, method(call.message, call.timeout, metadata=metadata, compression=compression)
        )
    except grpc.RpcError as error:
        return Outcome(error.code().value[0])


# grpc-go.


def grpc_go(place: Place, calls: Sequence[Call], threads: int = 1) -> list[Outcome]:
    """Make calls on one connection, so many at once. Skips the test without Go."""
    if MISSING:
        pytest.skip(MISSING)
    order: dict[str, Any] = {
        "Target": place.address,
        "Threads": threads,
        "Calls": [
            {
                "Path": call.path,
                "Message": base64.b64encode(call.message).decode(),
                "Metadata": dict(call.metadata),
                "TimeoutMs": int(call.timeout * 1000),
                "CancelMs": int(call.cancelled_after * 1000),
                "Gzip": call.is_gzipped,
            }
            for call in calls
        ],
    }
    if place.files:
        files = place.files
        order |= {"CA": str(files.ca), "Cert": str(files.certificate), "Key": str(files.key)}
    program, told = go_tool("grpc_go", "."), json.dumps(order).encode()
    done = subprocess.run(
        [program], input=told, capture_output=True, timeout=PATIENCE_SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    answers = json.loads(done.stdout)
    return [Outcome(one["Code"], base64.b64decode(one["Message"] or "")) for one in answers]


# httpx.


def httpx_client(place: Place) -> httpx.Client:
    """Open a client that knows that the server speaks HTTP/2."""
    verify = ssl.create_default_context(cafile=place.files.ca if place.files else None)
    if place.files:
        verify.load_cert_chain(place.files.certificate, place.files.key)
    path = place.address.removeprefix("unix:") if place.address.startswith("unix:") else None
    transport = httpx.HTTPTransport(verify=verify, http1=False, http2=True, uds=path)
    scheme = "https" if place.files else "http"
    host = "localhost" if path else place.address.replace("127.0.0.1", "localhost")
    return httpx.Client(
        transport=transport, base_url=f"{scheme}://{host}", timeout=PATIENCE_SECONDS
    )


def by_httpx(place: Place, calls: Sequence[Call]) -> list[Outcome]:
    """Make calls with a client for any HTTP/2 server."""
    with httpx_client(place) as client:
        return [_outcome(posted(client, call)) for call in calls]


def posted(client: httpx.Client, call: Call) -> httpx.Response:
    """Make a call, and return the response without its trailers."""
    headers, content = _written(call)
    return client.post(call.path, headers=headers, content=content)


def _outcome(response: httpx.Response) -> Outcome:
    assert response.status_code == httpx.codes.OK
    return Outcome(int(response.headers.get("grpc-status", 0)), response.content[PREFIX_BYTES:])


# nghttp.


def nghttp_command() -> list[str]:
    """Return the beginning of nghttp's command. Skips the test, or fails it, without nghttp."""
    unpacked = NGHTTP2 / "usr/bin/nghttp"
    if unpacked.exists():
        folders = ":".join(map(str, NGHTTP2.glob("usr/lib/*-linux-gnu")))
        return ["env", f"LD_LIBRARY_PATH={folders}", str(unpacked)]
    if shutil.which("nghttp"):
        return ["nghttp"]
    message = "no nghttp: install Debian's nghttp2-client, or see .ci/run"
    if os.environ.get("AUTHZ_NEEDS_NGHTTP2"):
        pytest.fail(message)
    pytest.skip(message)


def nghttp(place: Place, calls: Sequence[Call]) -> list[Outcome]:
    """Make each call with a process of its own. It knows no unix sockets."""
    return [_by_nghttp(place, call) for call in calls]


def nghttp_headers(
    place: Place, path: str, content: bytes, *arguments: str
) -> list[dict[str, str]]:
    """Send a request with any headers; return header and trailer sections of each answer."""
    output = _nghttp(place, path, content, "--verbose", "--null-out", *arguments).decode()
    streams: dict[str, dict[str, str]] = {}
    for stream, name, value in re.findall(r"recv \(stream_id=(\d+)\) (:?[a-z0-9-]+): (.*)", output):
        streams.setdefault(stream, {})[name] = value
    return list(streams.values())


def nghttp_posts(place: Place, call: Call, times: int) -> bytes:
    """Make a call so many times at once, on one connection; return the contents of all answers."""
    content, arguments = _request(call)
    return _nghttp(place, call.path, content, *arguments, f"--multiply={times}")


def _by_nghttp(place: Place, call: Call) -> Outcome:
    content, arguments = _request(call)
    (section,) = nghttp_headers(place, call.path, content, *arguments)
    code = int(section["grpc-status"])
    return Outcome(code, b"" if code else nghttp_posts(place, call, 1)[PREFIX_BYTES:])


def _request(call: Call) -> tuple[bytes, list[str]]:
    """Return a call's content, and nghttp's arguments."""
    headers, content = _written(call)
    return content, [f"--header={name}: {value}" for name, value in headers.items()]


def _written(call: Call) -> tuple[dict[str, str], bytes]:
    """Return the headers and the content of a call, for clients that know nothing of gRPC."""
    headers = {"content-type": "application/grpc", "te": "trailers", **call.metadata}
    if not call.is_gzipped:
        return headers, framed(call.message)
    return headers | {"grpc-encoding": "gzip"}, b"\1" + framed(gzip.compress(call.message))[1:]


def _nghttp(place: Place, path: str, content: bytes, *arguments: str) -> bytes:
    secured = []
    if place.files:
        files = place.files
        secured = [f"--cert={files.certificate}", f"--key={files.key}", "--no-verify-peer"]
    data = ["--data=-"] if content else []
    scheme = "https" if place.files else "http"
    done = subprocess.run(
        [
            *nghttp_command(),
            *secured,
            *data,
            *arguments,
            f"--timeout={PATIENCE_SECONDS:.0f}",
            f"{scheme}://{place.address}{path}",
        ],
        input=content,
        capture_output=True,
        timeout=2 * PATIENCE_SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
