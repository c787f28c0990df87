"""Token status lists: the draft's own examples, hostile lists, and a slow independent model."""

import json
import zlib
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.base64url import Base64UrlError, base64url, decode_base64url
from authz.core.delegation import IssuerSettings
from authz.core.delegation.settings import OTHER_KINDS
from authz.core.delegation.status_list import StatusListChecker, read_reference
from authz.core.delegation.status_list_token import (
    MAX_INFLATED_BYTES,
    StatusList,
    StatusListError,
    parse_list_token,
    read_list,
)
from authz.core.jose.jwk import Key, parse_key_set
from authz.core.jose.key_set import KeySet
from authz.core.needs import StatusListNeeded
from authz.core.reason import Denied, Reason
from lab.issuer import SigningKey, b64, sign_json, sign_raw
from support.jwks_server import ec_key, key_set

ISSUER = "https://as.corp.example"
URI = f"{ISSUER}/statuslists/1"
NOW = 1_800_000_000.0
KEY = ec_key("key-1")
HEADER = {"alg": "ES256", "kid": "key-1", "typ": "statuslist+jwt"}
# Of section 4.1: what the bytes say, the first number first.
ONE_BIT = bytes([0xB9, 0xA3])
ONE_BIT_SAYS = [1, 0, 0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1]
TWO_BITS = bytes([0xC9, 0x44, 0xF9])
TWO_BITS_SAY = [1, 2, 0, 3, 0, 1, 0, 1, 1, 2, 3, 3]
# Their compressed form there.
ONE_BIT_TEXT = "eNrbuRgAAhcBXQ"
TWO_BITS_TEXT = "eNo76fITAAPfAgc"


def issuer_of(**changes: Any) -> IssuerSettings:
    """The issuer's settings; ``changes`` are of its status_list."""
    lists = {"uris": (f"{ISSUER}/statuslists/*", f"{ISSUER}/all?of=them"), **changes}
    return IssuerSettings.model_validate(
        {
            "issuer": ISSUER,
            "audiences": ("https://mcp.corp.example",),
            "keys": {"jwks_uri": f"{ISSUER}/jwks"},
            "status_list": lists,
        }
    )


PLAIN = issuer_of()
KEYS, _ = parse_key_set(key_set(KEY), frozenset({"ES256"}), ISSUER)


def text_of(numbers: bytes) -> str:
    """A list's lst."""
    return b64(zlib.compress(numbers, 9))


def claims_of(numbers: bytes = ONE_BIT, bits: Any = 1, **changes: Any) -> dict[str, Any]:
    """A list's claims; a change to None leaves a claim out."""
    claims = {
        "sub": URI,
        "iat": NOW - 5,
        "exp": NOW + 3600,
        "ttl": 60,
        "status_list": {"bits": bits, "lst": text_of(numbers)},
        **changes,
    }
    return {name: value for name, value in claims.items() if value is not None}


def read(
    claims: Mapping[str, Any], issuer: IssuerSettings = PLAIN, header: Mapping[str, Any] = HEADER
) -> StatusList:
    """Read a list as it is fetched now."""
    body = sign_json(KEY, header, claims).encode()
    jws = parse_list_token(body, issuer, 8 * 1024 * 1024)
    return read_list(jws, KEYS["key-1"].thumbprint, URI, issuer, NOW)


def packed(numbers: list[int], bits: int) -> bytes:
    """The bytes of numbers, by the words of section 4.1, bit after bit."""
    line = "".join(format(number, f"0{bits}b")[::-1] for number in numbers)
    line += "0" * (-len(line) % 8)
    return bytes(int(line[at : at + 8][::-1], 2) for at in range(0, len(line), 8))


# Parsing


@pytest.mark.parametrize(
    ("bits", "text", "numbers", "says"),
    [(1, ONE_BIT_TEXT, ONE_BIT, ONE_BIT_SAYS), (2, TWO_BITS_TEXT, TWO_BITS, TWO_BITS_SAY)],
)
def test_examples_of_the_draft(bits: int, text: str, numbers: bytes, says: list[int]) -> None:
    """The lists of section 4 are read as it says, and the model agrees."""
    found = read(claims_of(status_list={"bits": bits, "lst": text}))
    assert found.numbers == numbers == packed(says, bits)
    assert [found.number(index) for index in range(len(says))] == says


@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 255), max_size=60), st.integers(0))
def test_against_a_model(bits: int, numbers: list[int], beyond: int) -> None:
    """Each place has the number that was packed there, and a place beyond the list is refused."""
    numbers = [number % 2**bits for number in numbers]
    found = read(claims_of(packed(numbers, bits), bits))
    assert [found.number(index) for index in range(len(numbers))] == numbers
    places = len(found.numbers) * 8 // bits
    with pytest.raises(Denied) as refused:
        found.number(places + beyond)
    assert refused.value.reason is Reason.TOKEN_CLAIM


def test_what_a_list_says_of_itself() -> None:
    """Its times, its ttl and its key are taken from it, and its use ends by exp or by max_age."""
    found = read(claims_of())
    assert (found.issued_at, found.fetched_at, found.ttl_seconds) == (NOW - 5, NOW, 60)
    assert (found.key_id, found.usable_until) == ("key-1", NOW + 300)
    assert read(claims_of(exp=NOW + 7, ttl=None)).usable_until == NOW + 7
    assert read(claims_of(exp=None), issuer_of(max_age="20s")).usable_until == NOW + 20


BOMB = text_of(bytes(MAX_INFLATED_BYTES + 1))
TRAILING = b64(zlib.compress(ONE_BIT) + b"x")
CUT = b64(zlib.compress(bytes(1000))[:-3])
RAW_DEFLATE = b64(zlib.compress(ONE_BIT)[2:-4])
HOSTILE_CLAIMS: list[tuple[dict[str, Any], str]] = [
    ({"sub": f"{ISSUER}/statuslists/2"}, "sub"),
    ({"sub": f"{URI}/"}, "sub"),
    ({"sub": None}, "sub"),
    ({"sub": [URI]}, "sub"),
    ({"iss": "https://other.example"}, "iss"),
    ({"iss": ""}, "iss"),
    ({"iat": None}, "iat"),
    ({"iat": True}, "iat"),
    ({"iat": "1"}, "iat"),
    ({"iat": -1}, "iat"),
    ({"iat": 2**60}, "iat"),
    ({"iat": NOW + 31}, "future"),
    ({"nbf": NOW + 31}, "future"),
    ({"exp": NOW}, "exp"),
    ({"exp": NOW - 1}, "exp"),
    ({"exp": "never"}, "exp"),
    ({"ttl": 0}, "ttl"),
    ({"ttl": -5}, "ttl"),
    ({"ttl": "60"}, "ttl"),
    ({"status_list": None}, "status_list"),
    ({"status_list": []}, "status_list"),
    *(
        ({"status_list": {"bits": bits, "lst": ONE_BIT_TEXT}}, "bits")
        for bits in (0, 3, 5, 16, -1, True, 1.0, "1", None, [1])
    ),
    ({"status_list": {"bits": 1}}, "lst"),
    ({"status_list": {"bits": 1, "lst": 7}}, "lst"),
    ({"status_list": {"bits": 1, "lst": ""}}, "zlib"),
    ({"status_list": {"bits": 1, "lst": "é"}}, "base64url"),
    ({"status_list": {"bits": 1, "lst": f"{ONE_BIT_TEXT}=="}}, "base64url"),
    ({"status_list": {"bits": 1, "lst": ONE_BIT_TEXT.replace("e", "+")}}, "base64url"),
    ({"status_list": {"bits": 1, "lst": f"{ONE_BIT_TEXT[:-1]}R"}}, "canonical"),
    ({"status_list": {"bits": 1, "lst": b64(b"not compressed")}}, "zlib"),
    ({"status_list": {"bits": 1, "lst": RAW_DEFLATE}}, "zlib"),
    ({"status_list": {"bits": 1, "lst": TRAILING}}, "single"),
    ({"status_list": {"bits": 1, "lst": CUT}}, "complete"),
    ({"status_list": {"bits": 1, "lst": BOMB}}, "more than"),
]


@pytest.mark.parametrize(("changes", "words"), HOSTILE_CLAIMS)
def test_lists_that_are_not_used(changes: dict[str, Any], words: str) -> None:
    """A list that is not clearly the issuer's current list of this place is not used."""
    with pytest.raises(StatusListError, match=words):
        read(claims_of(**changes))


def test_the_largest_list() -> None:
    """A list of the largest size is read to its last number."""
    found = read(claims_of(bytes(MAX_INFLATED_BYTES - 1) + b"\x80"))
    last = MAX_INFLATED_BYTES * 8 - 1
    assert (found.number(last - 1), found.number(last)) == (0, 1)


OTHER_TYPES = sorted(OTHER_KINDS - {"statuslist+jwt"})


@pytest.mark.parametrize(
    "changes",
    [
        *({"typ": typ} for typ in ("JWT", "at+jwt", "statuslist+cwt", None, 7, *OTHER_TYPES)),
        {"alg": "none"},
        {"alg": "RS256"},
        {"alg": "HS256"},
        {"kid": None},
        {"kid": ""},
        {"kid": 7},
        {"crit": ["exp"]},
        {"b64": False},
        {"zip": "DEF"},
        {"cty": "JWT"},
    ],
)
def test_headers_that_are_not_a_lists(changes: dict[str, Any]) -> None:
    """A JWT of another type, algorithm or form is not a list, whatever its claims."""
    header = {name: value for name, value in {**HEADER, **changes}.items() if value is not None}
    with pytest.raises(StatusListError):
        read(claims_of(), header=header)


def test_types_in_their_long_form() -> None:
    """A typ may be written in its long form, and in capital letters (RFC 7515 section 4.1.9)."""
    for typ in ("application/statuslist+jwt", "StatusList+JWT"):
        assert read(claims_of(), header={**HEADER, "typ": typ}).bits == 1


@pytest.mark.parametrize(
    "body", [b"", b"x", b"a.b", b"a.b.c.d", b"\xff\xfe", b"{}", b"..", b"<html></html>"]
)
def test_bodies_that_are_not_a_jwt(body: bytes) -> None:
    """What is not a compact JWT is not a list."""
    with pytest.raises(StatusListError):
        parse_list_token(body, PLAIN, 1024)


def test_a_list_longer_than_accepted() -> None:
    """The limit is that of the body."""
    body = sign_json(KEY, HEADER, claims_of()).encode()
    parse_list_token(body + b"\r\n", PLAIN, len(body))
    with pytest.raises(StatusListError):
        parse_list_token(body, PLAIN, len(body) - 1)


def test_a_doubled_member() -> None:
    """Two readers must not see two lists in one text."""
    payload = json.dumps(claims_of())[:-1] + f', "status_list": {{"bits":1,"lst":"{BOMB[:8]}"}}}}'
    body = sign_raw(KEY, json.dumps(HEADER).encode(), payload.encode()).encode()
    with pytest.raises(StatusListError):
        parse_list_token(body, PLAIN, 1024 * 1024)


@given(st.binary(max_size=40), st.text("AZaz09-_+/=é \n", max_size=12))
def test_base64url_has_one_text(data: bytes, text: str) -> None:
    """Each value has one text, which the standard library makes, and no other text is read."""
    made = base64url(data)
    assert decode_base64url(made.encode()) == data
    try:
        read_data = decode_base64url(text.encode())
    except Base64UrlError:
        return
    assert urlsafe_b64encode(read_data).rstrip(b"=") == text.encode()


# The check of a token


class Lists:
    """Lists by their places."""

    def __init__(self, **lists: StatusList) -> None:
        """Keep them; each is at the place of its name below statuslists."""
        self._lists = {f"{ISSUER}/statuslists/{name[1:]}": found for name, found in lists.items()}

    def get(self, issuer: str, uri: str) -> StatusList | None:
        """Return the list."""
        return self._lists.get(uri) if issuer == ISSUER else None


class Keys:
    """The issuer's keys."""

    def __init__(self, keys: Mapping[str, Key] = KEYS) -> None:
        """Keep them."""
        self._keys = KeySet(keys, (), NOW, NOW + 86400)

    def get(self, _issuer: str) -> KeySet:
        """Return them."""
        return self._keys


def entry(index: Any, uri: Any = URI) -> dict[str, Any]:
    """A token's claims."""
    return {"sub": "alice", "status": {"status_list": {"idx": index, "uri": uri}}}


def refusal(
    members: Mapping[str, Any],
    lists: Lists,
    now: float = NOW,
    *,
    issuer: IssuerSettings = PLAIN,
    keys: Keys | None = None,
) -> Denied | None:
    """Why a token is refused."""
    try:
        StatusListChecker(lists, keys or Keys()).check(members, issuer, now)
    except Denied as denied:
        return denied
    return None


@given(st.sampled_from([1, 2, 4, 8]), st.lists(st.integers(0, 255), min_size=1, max_size=40))
def test_only_zero_counts(bits: int, numbers: list[int]) -> None:
    """A token counts if its list says 0, and is refused for every other number."""
    numbers = [number % 2**bits for number in numbers]
    lists = Lists(_1=read(claims_of(packed(numbers, bits), bits)))
    for index, number in enumerate(numbers):
        found = refusal(entry(index), lists)
        assert (None if number == 0 else Reason.TOKEN_REVOKED) == (found and found.reason)


def test_words_for_people() -> None:
    """The detail says what the list says."""
    lists = Lists(_1=read(claims_of(TWO_BITS, 2)))
    details = [refusal(entry(index), lists) for index in (0, 1, 3)]
    assert [denied and denied.detail for denied in details] == [
        "its status list says that it was revoked",
        "its status list says that it is suspended",
        "its status list says 3 of it, which has no meaning here",
    ]


def test_until_when_it_holds() -> None:
    """What the list says holds until its end, and for a token without a list for ever."""
    checker = StatusListChecker(Lists(_1=read(claims_of(bytes(2)))), Keys())
    assert checker.check(entry(3), PLAIN, NOW) == NOW + 300
    assert checker.check({"sub": "alice"}, PLAIN, NOW) == float("inf")


def other_keys(key: SigningKey) -> Keys:
    """The issuer's keys after a rotation."""
    return Keys(parse_key_set(key_set(key), frozenset({"ES256"}), ISSUER)[0])


@pytest.mark.parametrize(
    ("now", "keys"),
    [
        (NOW + 300, Keys()),
        (NOW + 10_000, Keys()),
        (NOW - 31, Keys()),
        (NOW, Keys({})),
        (NOW, other_keys(ec_key("key-2"))),
        (NOW, other_keys(ec_key("key-1"))),
    ],
)
def test_a_list_that_ended(now: float, keys: Keys) -> None:
    """A list does not count after its end, before its fetch, or without the key that signed it."""
    lists = Lists(_1=read(claims_of(bytes(2))))
    assert refusal(entry(0), lists) is None
    found = refusal(entry(0), lists, now, keys=keys)
    assert found is not None
    assert (found.reason, found.needs) == (
        Reason.STATUS_UNAVAILABLE,
        StatusListNeeded(ISSUER, URI),
    )


BAD_INDEXES: list[Any] = [-1, True, False, 0.0, 1.5, "0", None, [0], {}]
BAD_STATUS: list[Any] = [
    None,
    "active",
    [],
    {},
    {"status_list": None},
    {"status_list": []},
    {"status_list": {}},
    {"status_list": {"idx": 0}},
    {"status_list": {"uri": URI}},
    {"other": {}},
    {"status_list": {"idx": 0, "uri": URI}, "other": {}},
    *(entry(index)["status"] for index in BAD_INDEXES),
    *(
        entry(0, uri)["status"]
        for uri in (
            None,
            7,
            [URI],
            "",
            "https://evil.example/statuslists/1",
            f"{ISSUER}.evil.example/statuslists/1",
            f"{ISSUER}/statuslists/",
            f"{ISSUER}/statuslists",
            f"{ISSUER}/statuslists/../admin",
            f"{ISSUER}/statuslists/a/../../admin",
            f"{ISSUER}/statuslists/./1",
            f"{ISSUER}/statuslists/%2e%2e/admin",
            f"{ISSUER}/statuslists//1",
            f"{ISSUER}/statuslists/1?x=y",
            f"{ISSUER}/statuslists/1#x",
            f"{ISSUER}/statuslists/1\n",
            f"{ISSUER}/statuslists/\\admin",
            f"{ISSUER}/statuslists/é",
            f"{ISSUER}/all",
            f"{ISSUER}/all?of=them&x=y",
            f"{ISSUER.upper()}/statuslists/1",
            f"http{ISSUER[5:]}/statuslists/1",
            f"{ISSUER}/statuslists/{'a' * 3000}",
            f"{ISSUER}/statuslists/*",
        )
    ),
]


@pytest.mark.parametrize("status", BAD_STATUS)
def test_a_status_that_is_not_read(status: Any) -> None:
    """A status that is malformed, or names a list elsewhere, refuses the token; nothing is needed.

    So no request goes to a place that the config does not name.
    """
    found = refusal({"status": status}, Lists())
    assert found is not None
    assert (found.reason, found.needs) == (Reason.TOKEN_CLAIM, None)


@pytest.mark.parametrize(
    "uri",
    [URI, f"{ISSUER}/statuslists/a/b.c~d_e-f", f"{ISSUER}/all?of=them"],
)
def test_places_of_lists(uri: str) -> None:
    """A list may be at a place of the config, or below a place that ends in a star."""
    found = read_reference(entry(5, uri), PLAIN)
    assert found is not None
    assert (found.index, found.uri) == (5, uri)


def test_a_huge_index() -> None:
    """The largest number that JSON may hold here is refused like any place beyond the list."""
    found = refusal(entry(int("9" * 32)), Lists(_1=read(claims_of())))
    assert found is not None
    assert found.reason is Reason.TOKEN_CLAIM


def test_other_mechanisms() -> None:
    """Accepted unchecked, another mechanism is passed over, and a status list beside it is not."""
    lax = PLAIN.model_copy(update={"accept_unchecked": ("status",)})
    lists = Lists(_1=read(claims_of()))
    both = {"status": {**entry(0)["status"], "other": {}}}
    assert refusal({"status": {"other": {}}}, lists, issuer=lax) is None
    found = refusal(both, lists, issuer=lax)
    assert found is not None
    assert found.reason is Reason.TOKEN_REVOKED


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"uris": ()}, "at least 1"),
        ({"uris": ("http://as.corp.example/1",)}, "https"),
        ({"uris": ("https://as.corp.example*",)}, r"\*"),
        ({"uris": ("https://*.corp.example/1",)}, r"\*"),
        ({"uris": ("https://as.corp.example/*/1",)}, r"\*"),
        ({"uris": ("https://as.corp.example/x?y=/*",)}, "plain path"),
        ({"uris": ("https://as.corp.example/../*",)}, "plain path"),
        ({"uris": ("*",)}, "https"),
        ({"uris": ("https://u:p@as.corp.example/*",)}, "user"),
        ({"max_bytes": 2**30}, "less than"),
        ({"max_age": "500ms"}, "greater than"),
    ],
)
def test_settings_that_are_refused(changes: dict[str, Any], words: str) -> None:
    """A place is a URL, or one with a star for all below; nothing is wide by accident."""
    with pytest.raises(ValueError, match=words):
        issuer_of(**changes)


def test_lists_need_keys() -> None:
    """Without keys no list could be verified."""
    with pytest.raises(ValueError, match="set keys"):
        IssuerSettings.model_validate(
            {
                "issuer": ISSUER,
                "audiences": ("https://mcp.corp.example",),
                "introspection": {"url": f"{ISSUER}/introspect"},
                "status_list": {"uris": (URI,)},
            }
        )
