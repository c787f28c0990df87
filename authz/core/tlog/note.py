"""Signs and opens notes: short texts with signatures (C2SP signed-note)."""

import binascii
import re
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
)
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
    load_pem_public_key,
)

MAX_NOTE_CHARS: Final = 1 << 20
MAX_SIGNATURES: Final = 100  # of a note; each may cost a check
ED25519: Final = b"\x01"  # the types of signatures (section "Signature types")
ECDSA_P256: Final = b"\x02"
_HASH_BYTES: Final = 4
_BEGIN: Final = "— "
_SIGNATURE: Final = re.compile(r"— ([^\s+]{1,256}) ([A-Za-z0-9+/=]{1,1024})")
_NAME: Final = re.compile(r"[^\s+]{1,256}")
_CONTROLS: Final = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")
_VERIFIER_KEY: Final = re.compile(r"([^\s+]{1,256})\+([0-9a-f]{8})\+([A-Za-z0-9+/=]{1,1024})")
_PUBLIC_MARK: Final = b" PUBLIC KEY-----"
_PRIVATE_MARK: Final = b" PRIVATE KEY-----"
_Private = Ed25519PrivateKey | EllipticCurvePrivateKey
_Public = Ed25519PublicKey | EllipticCurvePublicKey


class NoteError(ValueError):
    """A note, a key or a signature is not valid; the text says why, and holds no secret."""


class NoteSigner:
    """Signs notes in a name with a private key, Ed25519 or ECDSA P-256."""

    def __init__(self, name: str, private_key: bytes) -> None:
        """Take the name and the key as PEM. Raises NoteError."""
        if not _NAME.fullmatch(name):
            raise NoteError("a signer's name has no space and no plus sign")
        self.name = name
        self._key = _private(private_key)
        self._hash = _key_hash(name, self._key.public_key())

    def sign(self, text: str) -> str:
        """Return the note: the text, an empty line, and the line of the signature.

        Raises NoteError for a text that does not end with a line feed, or has control characters.
        """
        _check_text(text)
        data = text.encode()
        if isinstance(self._key, Ed25519PrivateKey):
            signature = self._key.sign(data)
        else:
            signature = self._key.sign(data, ECDSA(SHA256()))
        return f"{text}\n{_BEGIN}{self.name} {b64encode(self._hash + signature).decode()}\n"

    @property
    def public_pem(self) -> str:
        """Return the public key as PEM."""
        form = PublicFormat.SubjectPublicKeyInfo
        return self._key.public_key().public_bytes(Encoding.PEM, form).decode()

    @property
    def verifier_key(self) -> str:
        """Return the public key as C2SP writes it: name, hash and key with plus signs between."""
        key = _encoded(self._key.public_key())
        return f"{self.name}+{self._hash.hex()}+{b64encode(key).decode()}"


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note with a valid signature.

    Attributes:
        text: what was signed, with its line feed at the end.
        signer: the name in which it was signed.
        signatures: how many lines of signatures the note has.
    """

    text: str
    signer: str
    signatures: int


class NoteVerifier:
    """Opens notes that one of several public keys signed."""

    def __init__(self, *keys: bytes) -> None:
        """Take public keys, as PEM or as C2SP verifier keys. Raises NoteError.

        A verifier key is for its name alone; a PEM key is for any.
        """
        if not keys:
            raise NoteError("a public key is missing")
        self._keys = [_public(key) for key in keys]

    def open(self, note: str) -> OpenedNote:
        """Return the note's text and signer. Raises NoteError if none of the keys signed it.

        Signatures of other keys are ignored; a wrong one of a known key is an error.
        """
        text, signatures = _split(note)
        found = [name for line in signatures if (name := self._signer_by(text, line)) is not None]
        if not found:
            raise NoteError("none of the keys given signed this")
        return OpenedNote(text, found[0], len(signatures))

    def _signer_by(self, text: str, line: str) -> str | None:
        name, key_hash, signature = _signature(line)
        known = [
            key
            for bound, key in self._keys
            if bound in {None, name} and _key_hash(name, key) == key_hash
        ]
        if known and not any(_is_valid(key, text.encode(), signature) for key in known):
            raise NoteError(f"the signature of {name} is wrong")
        return name if known else None


def _split(note: str) -> tuple[str, Sequence[str]]:
    """Return text and lines of signatures. Raises NoteError."""
    if len(note) > MAX_NOTE_CHARS:
        raise NoteError(f"a note has {MAX_NOTE_CHARS} characters at most")
    text, separator, signed = note.rpartition("\n\n")
    lines = signed.split("\n")
    if not separator or lines.pop() or not 0 < len(lines) <= MAX_SIGNATURES:
        raise NoteError("a note is a text, an empty line, and lines of signatures")
    text += "\n"
    _check_text(text)
    return text, lines


def _signature(line: str) -> tuple[str, bytes, bytes]:
    """Return name, key hash and signature of a line. Raises NoteError."""
    match = _SIGNATURE.fullmatch(line)
    data = b"" if match is None else decoded(match[2])
    if match is None or len(data) <= _HASH_BYTES:
        raise NoteError("a line of a signature is a dash, a name, and Base64")
    return match[1], data[:_HASH_BYTES], data[_HASH_BYTES:]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROLS.search(text):
        raise NoteError("a note's text has lines with an end, and no control characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise NoteError("a note's text is Unicode without surrogates") from None


def decoded(text: str) -> bytes:
    """Decode Base64 (RFC 4648 section 4) that has one spelling. Raises NoteError."""
    try:
        data = b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        data = b""
    # Other bits behind the last byte would be a second spelling of the same data.
    if b64encode(data) != text.encode("utf-8", "replace"):
        raise NoteError("not Base64")
    return data


def _is_valid(key: _Public, data: bytes, signature: bytes) -> bool:
    try:
        if isinstance(key, Ed25519PublicKey):
            key.verify(signature, data)
        else:
            key.verify(signature, data, ECDSA(SHA256()))
    except InvalidSignature:
        return False
    return True


def _private(pem: bytes) -> _Private:
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:
        raise NoteError("the private key is encrypted: give one that is not") from None
    except (ValueError, UnsupportedAlgorithm):
        hint = " but a public key" if _PUBLIC_MARK in pem else ""
        raise NoteError(f"not a private key in PEM{hint}") from None
    if isinstance(key, Ed25519PrivateKey) or _is_p256(key):
        return key  # type: ignore[return-value]  # _is_p256 told so
    raise NoteError("a private key is Ed25519 or ECDSA P-256")


def _public(text: bytes) -> tuple[str | None, _Public]:
    """Return a key with the name that it is for, None for any. Raises NoteError."""
    match = _VERIFIER_KEY.fullmatch(text.decode("utf-8", "replace").strip())
    if match is None:
        return None, _of_kind(_from_pem(text))
    data = decoded(match[3])
    key = _from_bytes(data[:1], data[1:])
    if _key_hash(match[1], key).hex() != match[2]:
        raise NoteError("the hash of the verifier key is not that of its name and key")
    return match[1], key


def _from_pem(text: bytes) -> object:
    try:
        return load_pem_public_key(text)
    except (ValueError, UnsupportedAlgorithm):
        is_private = _PRIVATE_MARK in text
        hint = ": this is the private key, whose public half authz audit key prints"
        raise NoteError(
            f"not a public key, in PEM or as NAME+HASH+KEY{hint if is_private else ''}"
        ) from None


def _from_bytes(kind: bytes, data: bytes) -> _Public:
    try:
        if kind == ED25519:
            return Ed25519PublicKey.from_public_bytes(data)
        if kind == ECDSA_P256:
            return _of_kind(load_der_public_key(data))
    except (ValueError, UnsupportedAlgorithm):
        pass
    raise NoteError("not a verifier key of Ed25519 or ECDSA P-256")


def _of_kind(key: object) -> _Public:
    if isinstance(key, Ed25519PublicKey) or _is_p256(key):
        return key  # type: ignore[return-value]  # _is_p256 told so
    raise NoteError("a public key is Ed25519 or ECDSA P-256")


def _is_p256(key: object) -> bool:
    return isinstance(key, EllipticCurvePrivateKey | EllipticCurvePublicKey) and isinstance(
        key.curve, SECP256R1
    )


def _encoded(key: _Public) -> bytes:
    """Return the key as in a verifier key: its type, and its bytes."""
    if isinstance(key, Ed25519PublicKey):
        return ED25519 + key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return ECDSA_P256 + key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key_hash(name: str, key: _Public) -> bytes:
    """Return the four bytes that say which key a signature is of.

    For ECDSA these are of the key alone, which is how sigstore's logs have it.
    """
    encoded = _encoded(key)
    if isinstance(key, Ed25519PublicKey):
        return sha256(name.encode() + b"\n" + encoded).digest()[:_HASH_BYTES]
    return sha256(encoded[1:]).digest()[:_HASH_BYTES]
