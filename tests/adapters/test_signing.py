"""The signer of our own tokens: its files, their faults and changes, and what it publishes."""

import json
import os
import stat
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed448 import Ed448PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PublicFormat,
)
from cryptography.hazmat.primitives.serialization import PrivateFormat as Form

from authz.adapters.signing import SigningKeySettings, SigningSettings
from authz.adapters.signing.private_key import (
    SigningKeyError,
    make_signing_key,
    parse_signing_key,
)
from authz.adapters.signing.signer import Signer
from authz.adapters.signing.timeline import AHEAD_SECONDS, KeyUse, kept_seconds
from authz.adapters.signing_algorithm import SigningAlgorithm
from authz.core.jose.jwk import parse_key_set
from support.signing import pem, pem_of
from support.world import wait_until

CLAIMS: dict[str, Any] = {"iss": "https://authz.corp.example", "sub": "alice"}
TYP = "authz-assertion+jwt"
NOW = 1_790_000_000.0
LIFETIME = 60.0
LATER = "2026-09-21T16:00:00Z"  # some hours after NOW


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        """Begin at NOW."""
        self.now = NOW

    def __call__(self) -> float:
        """Return unix seconds."""
        return self.now


def written(folder: Path, *keys: bytes) -> list[str]:
    """Write keys into files, and return the paths."""
    paths = []
    for number, key in enumerate(keys):
        path = folder / f"k{number}.pem"
        path.write_bytes(key)
        path.chmod(0o600)
        os.utime(path, (NOW, NOW))
        paths.append(str(path))
    return paths


def settings(paths: Sequence[str], *begins: str) -> SigningSettings:
    """Settings of key files, all but the first with a moment."""
    moments = [{}, *({"signs_from": text} for text in begins)]
    entries = [
        SigningKeySettings.model_validate({"file": path, **moment})
        for path, moment in zip(paths, moments, strict=True)
    ]
    return SigningSettings(keys=tuple(entries))


def kid(token: str) -> str:
    """Return the key ID of a token."""
    return str(jwt.get_unverified_header(token)["kid"])


def kids(signer: Signer) -> list[str]:
    """Return the key IDs that a signer publishes."""
    return [key["kid"] for key in json.loads(signer.jwks())["keys"]]


def looked(signer: Signer, happened: Callable[[], bool]) -> None:
    """Let the signer check its files until this has happened."""

    def check() -> bool:
        signer.look()
        return happened()

    wait_until(check)


@pytest.mark.parametrize(("is_ed25519", "algorithm"), [(False, "ES256"), (True, "EdDSA")])
def test_what_is_signed_verifies_with_what_is_published(
    tmp_path: Path, algorithm: str, *, is_ed25519: bool
) -> None:
    """PyJWT verifies a token with the published key, whose kid is its RFC 7638 thumbprint."""
    signer = Signer(settings(written(tmp_path, pem(is_ed25519=is_ed25519))), LIFETIME)
    token = signer.sign(TYP, CLAIMS)
    (key,) = jwt.PyJWKSet.from_json(signer.jwks().decode()).keys
    assert jwt.get_unverified_header(token) == {"alg": algorithm, "typ": TYP, "kid": key.key_id}
    assert jwt.decode(token, key, [algorithm]) == CLAIMS
    (published,) = json.loads(signer.jwks())["keys"]
    assert not published.keys() & {"d", "k"}
    assert {published["use"], published["alg"]} == {"sig", algorithm}
    assert signer.algorithms() == (algorithm,)
    # Our own reader of issuers' keys takes it as well, with the strictest settings.
    assert parse_key_set(signer.jwks(), frozenset({algorithm}))[0].keys() == {key.key_id}


def test_thumbprints_are_those_of_the_rfc() -> None:
    """The kid of an Ed25519 key is as in RFC 8037 appendix A.3."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = parse_signing_key(pem_of(Ed25519PrivateKey.from_private_bytes(seed)), "rfc8037.pem")
    assert key.jwk["x"] == "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
    assert key.kid == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


_P256 = ec.generate_private_key(ec.SECP256R1())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "holds nothing"),
        (b"hello", "holds no PEM"),
        (pem_of(ec.generate_private_key(ec.SECP384R1())), "EC P-256 or Ed25519"),
        (pem_of(rsa.generate_private_key(65537, 2048)), "EC P-256 or Ed25519"),
        (pem_of(Ed448PrivateKey.generate()), "EC P-256 or Ed25519"),
        (_P256.private_bytes(Encoding.PEM, Form.PKCS8, BestAvailableEncryption(b"x")), "decrypt"),
        (
            _P256.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
            "a public key",
        ),
        (_P256.private_bytes(Encoding.DER, Form.PKCS8, NoEncryption()), "convert it to PEM"),
        (pem_of(_P256)[:-60], "is it cut"),
    ],
)
def test_a_file_that_holds_no_such_key_is_told(content: bytes, words: str) -> None:
    """A message names the file and what would be right, and holds nothing of the key."""
    with pytest.raises(SigningKeyError) as told:
        parse_signing_key(content, "/etc/authz/k.pem")
    assert "/etc/authz/k.pem holds" in str(told.value)
    assert words in str(told.value)
    assert len(content) < 60 or content[30:60].decode("latin-1") not in str(told.value)


def test_an_older_form_of_ec_keys_is_read() -> None:
    """OpenSSL's own form of EC keys (SEC 1) is taken as PKCS #8 is."""
    old = _P256.private_bytes(Encoding.PEM, Form.TraditionalOpenSSL, NoEncryption())
    assert parse_signing_key(old, "a").kid == parse_signing_key(pem_of(_P256), "b").kid


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    """A missing file's message names the command that makes it."""
    with pytest.raises(SigningKeyError, match=r"No such file.*authz signing-key makes it"):
        Signer(settings([str(tmp_path / "k.pem")]), LIFETIME)


def test_two_files_with_one_key_are_refused(tmp_path: Path) -> None:
    """The same key in two files would sign on when its time is over."""
    key = pem()
    with pytest.raises(SigningKeyError, match="the same key as"):
        Signer(settings(written(tmp_path, key, key), LATER), LIFETIME)


def test_the_next_key_is_published_before_it_signs(tmp_path: Path) -> None:
    """A listed key is published at once, signs from its moment on, and the first stays a while."""
    clock = Clock()
    listed = settings(written(tmp_path, pem(), pem(is_ed25519=True)), LATER)
    signer = Signer(listed, LIFETIME, clock)
    other = Signer(listed, LIFETIME, clock)  # another replica
    first, second = kids(signer)
    moment = listed.keys[1].begins
    assert signer.status().next_at == moment
    for at, signs, published in (
        (NOW, first, [first, second]),
        (moment - 0.1, first, [first, second]),
        (moment, second, [second, first]),
        (moment + kept_seconds(LIFETIME) - 0.1, second, [second, first]),
        (moment + kept_seconds(LIFETIME), second, [second]),
    ):
        clock.now = at
        assert kid(signer.sign(TYP, CLAIMS)) == kid(other.sign(TYP, CLAIMS)) == signs
        assert kids(signer) == kids(other) == published


def test_a_replaced_file_is_published_first_and_signs_later(tmp_path: Path) -> None:
    """The key that is put into the file signs when verifiers have had time to fetch it."""
    clock = Clock()
    (path,) = written(tmp_path, pem())
    signer = Signer(settings([path]), LIFETIME, clock)
    (old,) = kids(signer)
    replacement = tmp_path / "new.pem"
    replacement.write_bytes(pem())
    replacement.rename(path)
    looked(signer, lambda: signer.status().taken == 1)
    assert kids(signer)[0] == kid(signer.sign(TYP, CLAIMS)) == old
    new = kids(signer)[1]
    clock.now += AHEAD_SECONDS
    signer.look()
    assert kid(signer.sign(TYP, CLAIMS)) == new
    assert kids(signer) == [new, old]
    clock.now += kept_seconds(LIFETIME)
    signer.look()
    assert kids(signer) == [new]


@pytest.mark.parametrize("content", [None, b"broken", pem_of(_P256)[:-60]])
def test_a_broken_file_keeps_the_last_good_key(tmp_path: Path, content: bytes | None) -> None:
    """A file that is lost or broken changes nothing, is told once, and heals."""
    good = pem()
    (path,) = written(tmp_path, good)
    signer = Signer(settings([path]), LIFETIME)
    before = kids(signer)
    if content is None:
        Path(path).unlink()
    else:
        Path(path).write_bytes(content)
    looked(signer, lambda: signer.status().is_failing)
    assert kids(signer) == before == [kid(signer.sign(TYP, CLAIMS))]
    assert signer.status().refused == 1
    written(tmp_path, good)
    looked(signer, lambda: not signer.status().is_failing)
    assert kids(signer) == before
    assert signer.status().refused == 1


def test_a_file_that_is_being_written_does_not_count(tmp_path: Path) -> None:
    """A changed file is taken when it rests: a check right after the change finds the old key."""
    (path,) = written(tmp_path, pem())
    signer = Signer(settings([path]), LIFETIME)
    signer.look()
    Path(path).write_bytes(pem())
    assert signer.look()
    assert signer.status().published[KeyUse.NEXT] == 0
    looked(signer, lambda: signer.status().published[KeyUse.NEXT] == 1)


def test_another_list_of_keys_comes_into_use_at_once(tmp_path: Path) -> None:
    """A plan with other keys changes nothing until it is taken; what files went through stays."""
    clock = Clock()
    paths = written(tmp_path, pem(), pem())
    signer = Signer(settings(paths[:1]), LIFETIME, clock)
    (old,) = kids(signer)
    Path(paths[0]).write_bytes(pem())
    looked(signer, lambda: signer.status().taken == 1)
    _, replaced = kids(signer)

    plan = signer.plan(settings(paths, LATER), LIFETIME)
    assert kids(signer) == [old, replaced]
    signer.take(plan)
    assert kids(signer)[:2] == [old, replaced]
    assert len(kids(signer)) == 3
    with pytest.raises(SigningKeyError, match="No such file"):
        signer.plan(settings([str(tmp_path / "none.pem")]), LIFETIME)
    # An operator who takes a key off the list means it: nothing of it is published any more.
    signer.take(signer.plan(settings(paths[1:]), LIFETIME))
    assert len(kids(signer)) == 1
    assert not {old, replaced} & set(kids(signer))


def test_a_change_between_plan_and_take_counts(tmp_path: Path) -> None:
    """A file that changes while another config is read has its new key published all the same."""
    paths = written(tmp_path, pem(), pem())
    signer = Signer(settings(paths[:1]), LIFETIME, Clock())
    plan = signer.plan(settings(paths, LATER), LIFETIME)
    Path(paths[0]).write_bytes(pem())
    looked(signer, lambda: signer.status().taken == 1)
    expected = set(kids(signer))
    signer.take(plan)
    assert expected < set(kids(signer))


def test_a_shorter_lifetime_forgets_no_key_too_soon(tmp_path: Path) -> None:
    """After a reload with a shorter lifetime, tokens of the longer one still verify."""
    clock = Clock()
    listed = settings(written(tmp_path, pem(), pem()), LATER)
    signer = Signer(listed, 600.0, clock)
    first, _ = kids(signer)
    signer.take(signer.plan(listed, 10.0))
    clock.now = listed.keys[1].begins + 599.0
    assert first in kids(signer)
    clock.now = listed.keys[1].begins + kept_seconds(600.0)
    assert first not in kids(signer)


def test_a_made_key_is_one_for_all_that_make_it(tmp_path: Path) -> None:
    """Workers that start at once agree on one key, that nobody else can read."""
    path = tmp_path / "made.pem"
    made = SigningSettings(make=str(path))
    with ThreadPoolExecutor(8) as pool:
        signers = list(pool.map(lambda _: Signer(made, LIFETIME), range(8)))
    assert len({kids(signer)[0] for signer in signers}) == 1
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["made.pem"]
    with pytest.raises(SigningKeyError, match="can't be made: No such file"):
        make_signing_key(tmp_path / "none" / "k.pem", SigningAlgorithm.EDDSA)


def test_no_key_is_in_any_text(tmp_path: Path) -> None:
    """The forms of a key and of its signer for people hold nothing of the private key."""
    data = pem()
    (path,) = written(tmp_path, data)
    key = parse_signing_key(data, path)
    secret = data.decode().splitlines()[2]
    assert secret not in repr(key) + repr(vars(Signer(settings([path]), LIFETIME)))
    assert "Private" not in repr(key)
