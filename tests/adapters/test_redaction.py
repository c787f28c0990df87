"""Redaction of audit records: no redacted text is in a record, and equal texts are told."""

import json
import unicodedata
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.adapters.audit import AuditSettings
from authz.adapters.audit.records.line import AuditLine, TailEncoder
from authz.adapters.audit.records.record import (
    AuditOperation,
    AuditRecord,
    encode_operation,
    encode_record,
)
from authz.adapters.audit.records.redaction import Parties, Redaction
from authz.adapters.audit.records.sweep import sweep
from authz.adapters.audit.redaction_settings import DroppedField, HashedField, RedactionSettings
from authz.config import ConfigError, load_text
from lab.config_builder import LAB
from lab.mesh import CONFIG

KEY = b"k" * 32
AGENT = "spiffe://corp.example/ns/agents/sa/travel"
WHOM = "alice@corp.example"
HOST = "secret.corp.example"
PATH = "/accounts/alice%40corp.example/42"
IDP = "https://idp.corp.example"
RECORD = AuditRecord(
    decision="deny",
    reason="policy_denied",
    detail=f"{WHOM} may not: GET {HOST} {PATH}, blue, 4711, x-value, mail-box, write-all, robot-7",
    agent=AGENT,
    principal=WHOM,
    issuer=IDP,
    actors=[{"iss": IDP, "sub": AGENT}, {"iss": IDP, "sub": "robot-7"}],
    mode="act",
    flags=[],
    scopes=[f"read:{WHOM}", "write-all"],
    rule="g/0",
    principal_rule="",
    policy_version="v",
    token_id="",
    claims={"email": WHOM.upper(), "team": ["blue", {"number": 4711}], "aud": HOST, "by": AGENT},
    challenge=f'Bearer resource_metadata="https://{HOST}/m"',
)
OPERATION = AuditOperation(
    "GET",
    f"{HOST}:443",
    PATH,
    AGENT,
    headers={"x-user": f"<{WHOM}>", "x-other": "x-value", "origin": f"https://{HOST}", "x": AGENT},
    calls=(
        {"method": "tools/call", "kind": "tool", "name": "mail-box"},
        {"method": "tools/call", "kind": "tool", "name": f"for {WHOM} and robot-7"},
    ),
)
PARTIES = Parties(AGENT, WHOM, (AGENT, "robot-7"))
# The texts of each field, in all forms that they have in the record.
SECRETS = {
    "principal": (WHOM, "alice%40corp.example"),
    "agent": (AGENT,),
    "host": (HOST,),
    "path": (PATH,),
    "claims": ("blue", "4711", '"number"'),
    "actors": (AGENT, "robot-7"),
    "headers": ("x-value",),
    "scopes": ("write-all",),
    "detail": ("may not",),
    "calls": ("mail-box",),
    "request_id": ("request-1",),
    "trace_id": ("trace-1",),
}


def redacted(*hashed: str, drop: tuple[str, ...] = (), key: bytes = KEY) -> dict[str, Any]:
    """The line of the record and its operation, redacted."""
    settings = RedactionSettings(
        hash=tuple(map(HashedField, hashed)),
        drop=tuple(map(DroppedField, drop)),
        key_file="key" if hashed else None,
    )
    redaction = Redaction(settings, key)
    line = AuditLine(
        encode_record(redaction.record(RECORD, OPERATION)),
        encode_operation(redaction.operation(OPERATION, PARTIES)),
        0.0,
        "request-1",
        "trace-1",
        "d",
        is_hit=False,
        seconds=0.0,
    )
    (tail,) = TailEncoder(settings.drop).tails([line])
    return dict(json.loads(line.decision + line.operation + b"," + tail + b"}"))


@pytest.mark.parametrize("field", [field.value for field in HashedField])
def test_hashed_texts_are_nowhere(field: str) -> None:
    """A hashed field's text stands nowhere in the record, in no case and no encoding."""
    record = redacted(field)
    text = json.dumps(record).casefold()

    assert [secret for secret in SECRETS[field] if secret.casefold() in text] == []
    assert record["redacted"] == [field]
    assert all(len(value) > 0 for value in (record["detail"], record["path"], record["headers"]))


@pytest.mark.parametrize("field", [field.value for field in DroppedField])
def test_dropped_texts_are_nowhere(field: str) -> None:
    """A dropped field is empty, and its text stands nowhere else; an agent's own ID stays."""
    record = redacted(drop=(field,))
    assert not record[field]
    assert record["redacted"] == [field]
    assert (record["agent"], record["proxy"]) == (AGENT, AGENT)
    text = json.dumps({**record, "agent": "", "proxy": ""}).casefold()
    assert [secret for secret in SECRETS[field] if secret.casefold() in text] == []


def test_equal_texts_have_equal_hashes() -> None:
    """The agent is known again by its hash wherever it stands, and only with the same key."""
    record, other = redacted("agent", "principal"), redacted("agent", key=b"o" * 32)
    agent = record["agent"]

    assert record["actors"][0]["sub"] == record["proxy"] == record["headers"]["x"] == agent
    assert record["principal"] not in (agent, WHOM)
    assert record["headers"]["x-user"] == f"<{record['principal']}>"
    assert agent != other["agent"]
    assert agent.startswith("hmac:")


def test_what_is_not_redacted_stays() -> None:
    """Without a reason to change a field, it is recorded as before."""
    record = redacted("path")
    plain = json.loads(encode_record(RECORD) + encode_operation(OPERATION) + b"}")
    changed = {name for name, value in plain.items() if record[name] != value}

    assert changed == {"path", "detail"}


@given(st.text(min_size=1, max_size=20), st.text(max_size=20), st.text(max_size=20))
def test_a_long_text_is_found_in_any_other(secret: str, before: str, after: str) -> None:
    """Whatever is around a text of some length, and whatever its letters are, it is replaced."""
    long = f"{secret}abcdef"
    for form in (long, long.upper(), long.casefold()):
        assert long.casefold() not in sweep(f"{before}{form}{after}", [(long, "-")]).casefold()


def test_a_short_text_is_found_where_it_stands_alone() -> None:
    """A short name is replaced as a word; within other words it is there by chance."""
    assert sweep("bob, bobsled/bob", [("bob", "-")]) == "-, bobsled/-"


@pytest.mark.parametrize(
    ("redact", "words"),
    [
        ({"hash": ["principal"]}, "hashes need a secret key"),
        ({"key_file": "k"}, "a key is for hashes"),
        ({"hash": ["path"], "drop": ["path"], "key_file": "k"}, "hashed already"),
        ({"drop": ["token"]}, "principal"),
    ],
)
def test_settings_that_contradict_each_other(redact: dict[str, Any], words: str) -> None:
    """A field that can't be redacted, or is twice, and a key too few or too many are errors."""
    config = LAB.with_(("audit", "redact"), redact).edit(
        CONFIG.format(socket="s", admin_port=0, drain="1s", jwks_uri="http://127.0.0.1", audit="-")
    )
    with pytest.raises(ConfigError) as raised:
        load_text(config.encode(), "test.yaml")
    assert words in str(raised.value)
    assert AuditSettings().redact.fields == ()


WIDE = {code: code + 0xFEE0 for code in range(ord("a"), ord("z") + 1)}


def percents(text: str) -> str:
    """Percent-encode each byte, which RFC 3986 section 2.3 lets be decoded anywhere."""
    return "".join(f"%{byte:02x}" for byte in text.encode())


@pytest.mark.parametrize(
    "name", [WHOM, "straße@corp.example", "bob smith", "bob", 'b"\\c@x.example']
)
@pytest.mark.parametrize(
    "spell",
    [
        pytest.param(percents, id="percents"),
        pytest.param(lambda text: f"%{ord(text[0]):02X}{text[1:]}", id="one"),
        pytest.param(lambda text: quote(percents(text)), id="twice"),
        pytest.param(lambda text: quote(quote(quote(text, safe=""))), id="thrice"),
        pytest.param(lambda text: quote(text, safe="").replace("%20", "+"), id="form"),
        pytest.param(lambda text: "".join(f"\\u{ord(one):04X}" for one in text), id="escapes"),
        pytest.param(lambda text: json.dumps(text)[1:-1], id="json"),
        pytest.param(lambda text: "".join(f"&#{ord(one)};" for one in text), id="html"),
        pytest.param(lambda text: text.replace("@", "&commat;"), id="entity"),
        pytest.param(lambda text: unicodedata.normalize("NFD", text), id="decomposed"),
        pytest.param(lambda text: text.translate(WIDE), id="wide"),
        pytest.param(lambda text: percents(text.upper()), id="upper"),
        pytest.param(lambda text: "%ff" + percents(text), id="invalid"),
    ],
)
def test_other_spellings_are_found(name: str, spell: Callable[[str], str]) -> None:
    """A path that its upstream reads as the name is redacted, however the agent writes it."""
    told = sweep(f"/users/{spell(name)}/x", [(name, "-")])
    assert told in ("-", "/users/-/x")


def test_a_text_of_endless_layers_is_taken_for_a_secret() -> None:
    """What decodes again and again is not searched to its end, and not recorded."""
    assert sweep("/%" + "25" * 3000 + "41", [(WHOM, "-")]) == "-"
    assert sweep("/%25%41", [(WHOM, "-")]) == "/%25%41"


def test_a_host_in_a_path() -> None:
    """A redacted host is redacted in a path that names it too, as the absolute form does."""
    redaction = Redaction(RedactionSettings(drop=(DroppedField.HOST,)))
    told = redaction.operation(AuditOperation("GET", HOST, f"https://{HOST}/a", ""), PARTIES)
    assert (told.host, told.path) == ("", "https://[dropped]/a")
