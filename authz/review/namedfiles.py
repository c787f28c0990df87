"""The files that a config names: whether they are there, and hold what they should."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from authz.build import BuildError, decision_point_of, nonce_secret_of, revocations_of
from authz.config import Config, Place, dotted
from authz.tls import ServerTls, TlsError

_STANDARD_OUTPUT: Final = "-"  # of audit.path
_TLS: Final = ("certificate", "private_key", "client_ca")


def file_problems(config: Config) -> Iterator[tuple[Place, str]]:
    """Where a file is named that can't be used, and why."""
    unread: set[Place] = set()
    for place, path in _named(config):
        try:
            with Path(path).open("rb") as file:
                file.read(1)
        except OSError as error:
            unread.add(place)
            yield place, f"{path} can't be read{_from(path)}: {error.strerror}"
    folder = Path(config.audit.path).parent
    if config.audit.path != _STANDARD_OUTPUT and not folder.is_dir():
        yield ("audit", "path"), f"there is no folder {folder}{_from(folder)}"
    for place, read in _contents(config):
        if not any(one[: len(place)] == place for one in unread):
            try:
                read()
            except (BuildError, TlsError) as error:
                # At start there is no line to tell, so that the words begin with the place.
                yield place, str(error).removeprefix(dotted(place)).lstrip(".: ")


def _from(path: str | Path) -> str:
    return "" if Path(path).is_absolute() else f" in {Path.cwd()}, from where relative paths count"


def _named(config: Config) -> Iterator[tuple[Place, str]]:
    """Each file that has to be there, and where it is named."""
    if config.candidate is not None:
        yield ("candidate",), config.candidate
    if config.revocations.file is not None:
        yield ("revocations", "file"), config.revocations.file
    if (secret := config.token.dpop.nonce_secret) is not None:
        yield ("token", "dpop", "nonce_secret"), secret
    sections: list[tuple[Place, object, tuple[str, ...]]] = [
        (("server", "tls"), config.server.tls, _TLS),
        (("pdp",), config.pdp, ("ca_file", "token_file")),
    ]
    for at, issuer in enumerate(config.issuers):
        keys, bundle = issuer.keys, issuer.keys.spiffe_bundle
        sections += [
            (("issuers", at, "keys"), keys, ("file", "ca_file")),
            (("issuers", at, "keys", "spiffe_bundle"), bundle, ("file", "bootstrap")),
        ]
    for place, section, names in sections:
        for key in names:
            if (path := getattr(section, key, None)) is not None:
                yield (*place, key), path


def _contents(config: Config) -> Iterator[tuple[Place, Callable[[], object]]]:
    """What reads files as the server does, which raises BuildError or TlsError."""
    yield ("token", "dpop", "nonce_secret"), lambda: nonce_secret_of(config.token.dpop)
    yield ("revocations", "file"), lambda: revocations_of(config)
    yield ("pdp",), lambda: decision_point_of(config)
    tls = config.server.tls
    if tls is not None and tls.workload_api is None:
        yield ("server", "tls"), lambda: ServerTls(tls)
