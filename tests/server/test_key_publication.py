"""The published keys of assertions follow the config that is in force, and no other."""

import json
import socket
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from authz.config import Config, load_text
from authz.wiring.files import BuildError
from authz.wiring.publishing import KeyPublication
from authz.wiring.upstreams import AssertionKeys
from lab.config_builder import LAB
from support.signing import pem
from support.verbs import edit, write_config


def config(folder: Path, address: str = "") -> Config:
    """The lab's config, with assertions whose keys are published at an address."""
    path = write_config(folder)
    if address:
        (folder / "k.pem").write_bytes(pem())
        keys = [{"file": str(folder / "k.pem")}]
        section = {"issuer": "https://a.example", "insecure": True, "keys": keys}
        edit(path, LAB.with_(("assertions",), {**section, "listen": address}))
    return load_text(path.read_bytes(), str(path))


def take_none(publication: KeyPublication, wrong: Config, port: int) -> None:
    """Begin to take a config whose other parts fail, once it listens."""
    with publication.taking(wrong):
        socket.create_connection(("127.0.0.1", port), 60).close()
        raise BuildError("a key")


def test_a_config_that_fails_publishes_nothing(tmp_path: Path) -> None:
    """What it began to listen on is given up, so that the next config has the address it says."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port = held.getsockname()[1]
    first, wrong = config(tmp_path), config(tmp_path, f"127.0.0.1:{port}")
    keys = AssertionKeys(first)
    with closing(KeyPublication(first, keys, is_here=True)) as publication:
        publication.start()
        with pytest.raises(BuildError, match="a key"):
            take_none(publication, wrong, port)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), 60)
        right = config(tmp_path, "127.0.0.1:0")
        with publication.taking(right):
            keys.take(keys.prepare(right))
        (served,) = filter(None, [publication._publication])
        address = served.address
        with urllib.request.urlopen(f"http://{address}/jwks.json", timeout=60) as answer:
            assert len(json.load(answer)["keys"]) == 1
