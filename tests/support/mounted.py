"""Writes certificates as the systems of a cluster do: into mounted volumes, or file by file."""

import secrets
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, Protocol

from lab.ca import Authority, Svid

KEY, CERTIFICATE, CA = "private_key", "certificate", "client_ca"


class Layout(Protocol):
    """A place with a server's certificate, its key and the callers' CAs."""

    @property
    def paths(self) -> Mapping[str, str]:
        """Return the settings of ``server.tls`` that name the files."""

    def write(self, svid: Svid, ca: bytes) -> None:
        """Put a certificate and CAs in place of those before."""


class Volume:
    """A volume as the kubelet and the CSI drivers' library write it.

    The files of a version are in a folder of their own. The link ``..data`` is renamed over to it,
    the files are links through it, and the old folder is removed at once.
    """

    def __init__(self, path: Path) -> None:
        """Make an empty volume."""
        self.path = path
        path.mkdir(parents=True)

    def put(self, files: Mapping[str, bytes]) -> None:
        """Replace all files at once."""
        data = self.path / "..data"
        old = data.readlink() if data.is_symlink() else None
        version = self.path / f"..2026_11_29.{secrets.token_hex(5)}"
        version.mkdir()
        for name, content in files.items():
            (version / name).write_bytes(content)
        (self.path / "..data_tmp").symlink_to(version.name)
        (self.path / "..data_tmp").rename(data)
        for name in files:
            if not (self.path / name).is_symlink():
                (self.path / name).symlink_to(f"..data/{name}")
        if old is not None:
            shutil.rmtree(self.path / old)


class Secret:
    """A Secret of cert-manager, or the volume of csi-driver-spiffe with ``--source-ca-bundle``."""

    def __init__(self, folder: Path) -> None:
        """Make an empty volume."""
        self._volume = Volume(folder / "tls")
        names = {CERTIFICATE: "tls.crt", KEY: "tls.key", CA: "ca.crt"}
        self.paths = {key: str(self._volume.path / name) for key, name in names.items()}

    def write(self, svid: Svid, ca: bytes) -> None:
        """Swap all three at once."""
        pair = {"tls.crt": svid.certificate_pem.encode(), "tls.key": svid.key_pem.encode()}
        self._volume.put({**pair, "ca.crt": ca})


class SecretAndBundle:
    """csi-driver-spiffe's volume, and trust-manager's ConfigMap with the CAs in another."""

    def __init__(self, folder: Path) -> None:
        """Make two empty volumes."""
        self._tls, self._trust = Volume(folder / "spiffe"), Volume(folder / "trust")
        self.paths = {
            CERTIFICATE: str(self._tls.path / "tls.crt"),
            KEY: str(self._tls.path / "tls.key"),
            CA: str(self._trust.path / "bundle.pem"),
        }

    def write(self, svid: Svid, ca: bytes) -> None:
        """Swap the CAs, then certificate and key."""
        self._trust.put({"bundle.pem": b"# corp.example\n\n" + ca})
        pair = {"tls.crt": svid.certificate_pem.encode(), "tls.key": svid.key_pem.encode()}
        self._tls.put(pair)


class OutputCerts:
    """Istio's ``OUTPUT_CERTS``: each file is renamed over its own predecessor, the key first."""

    def __init__(self, folder: Path) -> None:
        """Make an empty folder."""
        self._folder = folder / "istio-certs"
        self._folder.mkdir()
        names = {CERTIFICATE: "cert-chain.pem", KEY: "key.pem", CA: "root-cert.pem"}
        self.paths = {key: str(self._folder / name) for key, name in names.items()}

    def write(self, svid: Svid, ca: bytes) -> None:
        """Replace one file after the other."""
        self._put("key.pem", svid.key_pem.encode())
        self._put("cert-chain.pem", svid.certificate_pem.encode())
        self._put("root-cert.pem", ca)

    def _put(self, name: str, content: bytes) -> None:
        fresh = self._folder / f".{name}"
        fresh.write_bytes(content)
        fresh.rename(self._folder / name)


class InPlace:
    """A script that writes over the files themselves."""

    def __init__(self, folder: Path) -> None:
        """Make an empty folder."""
        self._folder = folder / "plain"
        self._folder.mkdir()
        self.paths = {key: str(self._folder / key) for key in (CERTIFICATE, KEY, CA)}

    def write(self, svid: Svid, ca: bytes) -> None:
        """Write one file after the other."""
        Path(self.paths[CA]).write_bytes(ca)
        Path(self.paths[CERTIFICATE]).write_bytes(svid.certificate_pem.encode())
        Path(self.paths[KEY]).write_bytes(svid.key_pem.encode())


LAYOUTS: Final[dict[str, Callable[[Path], Layout]]] = {
    "csi-driver-spiffe, cert-manager": Secret,
    "csi-driver-spiffe, trust-manager": SecretAndBundle,
    "Istio's OUTPUT_CERTS": OutputCerts,
    "written in place": InPlace,
}


def with_key_as(svid: Svid, key_pem: bytes) -> Svid:
    """Return a certificate with its key in another form."""
    return Svid(
        svid.certificate,
        svid.certificate_pem,
        key_pem.decode(),
        svid.certificate_path,
        svid.key_path,
    )


def pem_of(authority: Authority) -> bytes:
    """Return a CA's certificate."""
    return authority.path.read_bytes()
