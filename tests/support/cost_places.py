"""The places of a request that a client fills, each with what is odd there, for ``costs``."""

import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from itertools import count
from typing import Any, Final

from authz._pb import ext_authz_pb2 as pb
from authz.core.paths import MAX_PATH_BYTES
from authz.core.protocols.body import MAX_BODY_BYTES
from authz.edge.entries import build_entry
from authz.edge.envoy.reader import read_check
from lab.config_builder import LAB
from lab.mesh import GATEWAY, TRAVEL
from support.costs import Place
from support.world import BALANCE, World, check_request

ENVOY: Final = 60 * 1024  # all headers of a request, the path included, unless it is told otherwise
TOKEN: Final = 8 * 1024
_PATH: Final = MAX_PATH_BYTES - 32
_new: Final = count()  # what is remembered of a text must not hide what it costs

CHANGES = (
    LAB.with_profile("xfcc", f"{{identity: xfcc, trusted_proxies: ['{GATEWAY}']}}")
    .with_routes("""\
- {name: trips, paths: [/trips/**], protocol: mcp}
- {name: lean, paths: [/lean/**], protocol: mcp, trust_mcp_headers: true}
- {name: helper, paths: [/helper/**], protocol: a2a}
- {name: llm, paths: [/v1/**], protocol: openai}
- name: odd
  paths: [/odd/**]
  accept_ambiguous:
    [double_encoding, empty_segments, escaped_backslash, escaped_dot, escaped_number_sign,
     escaped_question_mark, escaped_semicolon, escaped_slash, parameters]
""")
    .with_rules(
        "finance-read",
        """\
- name: book
  hosts: ["*"]
  methods: [POST]
  paths: [/trips/**]
  scopes: []
  mcp: {tools: [book, search]}
  when: operation.arguments.price <= 500.0
- name: ask
  hosts: ["*"]
  methods: ["*"]
  paths: [/helper/**]
  scopes: []
  a2a: {methods: [SendMessage]}
  when: operation.arguments.url != "x"
- name: model
  hosts: ["*"]
  methods: [POST]
  paths: [/v1/**]
  scopes: []
  models: {names: ["small-*"]}
  when: operation.arguments.max_tokens < 5
""",
    )
)


def decided(world: World, message: pb.CheckRequest) -> Callable[[], object]:
    """Return a function that does all for a request whose decision is not remembered."""
    snapshot = world.service.snapshot
    now = time.time()

    def decide() -> object:
        request = read_check(snapshot.inputs, message).request
        decision = snapshot.authorizer.decide(request, now)
        return build_entry(snapshot, request, decision, (now, 0.0), 0)

    return decide


QUERY = ("%61", "&", "=", ";", "+", "%", "%25", "%61&", "a", "access_token", "&access_token", "é")
COOKIE = (",", ";", "=", " ", "a", "authorization", "AUTHORIZATION", ";authorization", "é", "\t")
SEGMENTS = (
    *("/", "a", ".", "..", "../", "/.", ";", "/;", "/a;", "%2541", "/%2541", "%25", "/%25", "%61"),
    *("%2F", "%5C", "%3B", "%253B", "/%C3%A9", "%EF%BC%8F", "%EF%AC%80", "/%EF%AC%80", "%", "é"),
    *("%F0%9F%98%80", "%252F", "/%25EF%25AC%2580", "+", "~", "=3D", "%2e", "!", "%CC%B8"),
)
XFCC = (
    *("By=;", f"By={GATEWAY};", "URI=;", f"URI={TRAVEL};", 'Subject="a\\"b";', "DNS=a;", ","),
    *("Hash=" + "a" * 64 + ";", 'Cert="%41";', f"URI={TRAVEL},", 'By="\\a";', '\\"', "a", '"'),
)
TEXT = (
    "a",
    " ",
    ",",
    ".",
    "-",
    "/",
    ":",
    ";",
    "=",
    "%41",
    "A",
    "é",
    "\\",
    '"',
    "[",
    "]",
    "0",
    "\t",
)
ODD_TEXT = (*TEXT, "=?base64?", "?=", "00-", "Bearer ", "DPoP ", "..", "::", "0.")


def of_header(name: str, prefix: str = "", path: str = BALANCE, **how: Any) -> Callable[..., Any]:
    """Make a place: the value of a header, in either form of headers."""

    def make(world: World, text: str) -> pb.CheckRequest:
        return check_request(world.svid, [(name, prefix + text)], path=path, **how)

    return make


def of_path(prefix: str, suffix: str = "") -> Callable[..., Any]:
    """Make a place: a part of the path, or the text after it."""

    def make(world: World, text: str) -> pb.CheckRequest:
        return check_request(world.svid, [], path=f"{prefix}{next(_new):x}{text}{suffix}")

    return make


def of_call(path: str, name: str) -> Callable[..., Any]:
    """Make a place: a header that is read with a message."""

    def make(world: World, text: str) -> pb.CheckRequest:
        return with_body(
            world, path, '{"jsonrpc":"2.0","id":1,"method":"tools/list"}', (name, text)
        )

    return make


def of_many(name: str) -> Callable[..., Any]:
    """Make a place: many headers, as many as Envoy lets through by default."""

    def make(world: World, text: str) -> pb.CheckRequest:
        part = max(1, len(text) // 100)
        values = [text[at : at + part] for at in range(0, len(text), part)][:100]
        return check_request(world.svid, [(name, value) for value in values], raw_headers=True)

    return make


def of_caller(**names: str) -> Callable[..., Any]:
    """Make a place: what the proxy says of the caller."""

    def make(world: World, text: str) -> pb.CheckRequest:
        given = {name: prefix + text for name, prefix in names.items()}
        return check_request(world.svid, [], **given)  # type: ignore[arg-type]

    return make


HEAD: Final[dict[str, tuple[int, tuple[str, ...], Callable[..., pb.CheckRequest]]]] = {
    "query": (ENVOY, QUERY, of_path("/finance/balance?")),
    "query with its end escaped": (ENVOY, QUERY, of_path("/finance/balance?", "%")),
    "cookie": (ENVOY, COOKIE, of_header("cookie", "xauthorization")),
    "cookies": (ENVOY, COOKIE, of_many("cookie")),
    "path": (ENVOY, SEGMENTS, of_path("/")),
    "path that fits": (_PATH, SEGMENTS, of_path("/a")),
    "path where all is accepted": (_PATH, SEGMENTS, of_path("/odd/a")),
    "path of MCP": (_PATH, SEGMENTS, of_path("/trips/a")),
    "path of A2A": (_PATH, SEGMENTS, of_path("/helper/a")),
    "path of a model call": (_PATH, SEGMENTS, of_path("/v1/a")),
    "host": (ENVOY, TEXT, of_caller(host="")),
    "method": (ENVOY, ("A", "-", "a", "É"), of_caller(method="")),
    "credential": (ENVOY, ODD_TEXT, of_header("authorization")),
    "credentials": (ENVOY, ODD_TEXT, of_many("authorization")),
    "compact text": (TOKEN, ("a", ".", "_", "-", "="), of_header("authorization", "Bearer ")),
    "proof": (ENVOY, ODD_TEXT, of_header("dpop")),
    "request id": (ENVOY, ODD_TEXT, of_header("x-request-id")),
    "trace": (ENVOY, ODD_TEXT, of_header("traceparent", "00-")),
    "other headers": (ENVOY, TEXT, of_many("x-other")),
    "principal": (ENVOY, ("a", "/", ".", "..", "a/", "é", "%"), of_caller(principal="spiffe://a/")),
    "certificate": (ENVOY, ("%41", "%0A", "a", "-", "%"), of_caller(certificate="")),
    "xfcc": (ENVOY, XFCC, of_header("x-forwarded-client-cert", context={"authz_profile": "xfcc"})),
    "xfcc that ends": (
        ENVOY, XFCC,
        of_header("x-forwarded-client-cert", f"URI={TRAVEL};", context={"authz_profile": "xfcc"}),
    ),
    "mcp-name": (ENVOY, ODD_TEXT, of_call("/trips/mcp", "mcp-name")),
    "mcp-method": (ENVOY, ODD_TEXT, of_call("/lean/mcp", "mcp-method")),
    "mcp-protocol-version": (ENVOY, ODD_TEXT, of_call("/trips/mcp", "mcp-protocol-version")),
    "content-type": (ENVOY, ODD_TEXT, of_call("/trips/mcp", "content-type")),
    "a2a-version": (ENVOY, ("0", ".", "1.", "0.3", "a"), of_call("/helper/a", "a2a-version")),
}  # fmt: skip


def with_body(
    world: World, path: str, body: str, *headers: tuple[str, str], token: str = ""
) -> pb.CheckRequest:
    """Make a POST with a whole body."""
    data = body.encode()
    sent = {
        "content-type": "application/json",
        "content-length": str(len(data)),
        "x-envoy-auth-partial-body": "false",
        **({"authorization": f"Bearer {token}"} if token else {}),
        **dict(headers),
    }
    message = check_request(
        world.svid, list(sent.items()), method="POST", path=path, raw_headers=True
    )
    http = message.attributes.request.http
    http.raw_body, http.size = data, len(data)
    return message


CALL = '{"jsonrpc":"2.0","id":1,"method":'
LISTED = (
    *("1", "-1.5e5", "{}", "[]", '"\\n"', '"\\u003a"', '"a#"', "[[]]", '{"a":1}', '":"', "{", '"'),
    *('{"a":1,"b":{"c":[]}}', '{"name":"a#"}', '{"type":"function","function":{"name":"f#"}}'),
    *('{"tools":[{"name":"n#"}]}', '{"model":"small-#"}', '{"fallbacks":["small-#"]}'),
    *('{"jsonrpc":"2.0","id":#1,"method":"ping"}', '{"a":1,"a":2}', '"\\ud83d\\ude00"', '"!"'),
    *("1" * 33, "[" * 15 + "]" * 15, '"' + "9" * 40 + '"', '", ' + "1" * 40 + '"'),
    *(CALL + '"tools/call","params":{"name":"t","arguments":{"b":1}}}',),
)
MEMBERS = tuple(
    f"{name}:{value}"
    for name in ('"a#"', '"\\u00e9#"', '"\\u003a#"', '"_É#"')
    for value in ("1", "{}", '"\\n"', '[{"b":1}]')
)
MCP, A2A = "/trips/mcp", "/helper/a"
CHAT, MESSAGE = "/v1/chat/completions", '"SendMessage","params":{"message":'
# Path, what "~" in the body stands for, and the body.
BODIES: Final[dict[str, tuple[str, tuple[str, ...], str]]] = {
    "arguments": (MCP, MEMBERS, CALL + '"tools/call","params":{"name":"book","arguments":{~}}}'),
    "argument": (
        MCP, LISTED, CALL + '"tools/call","params":{"name":"book","arguments":{"a":[~]}}}'
    ),
    "odd argument": (  # which is looked at value by value
        MCP, LISTED, CALL + '"tools/call","params":{"name":"book","arguments":{"\\u003a":[~]}}}'
    ),
    "params": (MCP, MEMBERS, CALL + '"tools/call","params":{"name":"book",~}}'),
    "meta": (MCP, MEMBERS, CALL + '"tools/list","params":{"_meta":{~}}}'),
    "batch": (MCP, LISTED, "[~]"),
    "subscriptions": (
        MCP, LISTED, CALL + '"subscriptions/listen","params":{"notifications":{"taskIds":[~]}}}'
    ),
    "message of A2A": (A2A, MEMBERS, CALL + MESSAGE + "{~}}}"),
    "references of A2A": (A2A, LISTED, CALL + MESSAGE + '{"referenceTaskIds":[~]}}}'),
    "metadata of A2A": (A2A, MEMBERS, CALL + MESSAGE + '{"a":1},"metadata":{~}}}'),
    "REST of A2A": ("/helper/message:send", MEMBERS, '{"message":{"a":1},"configuration":{~}}'),
    "model call": (CHAT, MEMBERS, '{"model":"small-1",~}'),
    "tools of a model": ("/v1/responses", LISTED, '{"model":"small-1","tools":[~]}'),
    "fallbacks of a model": (CHAT, LISTED, '{"model":"small-1","fallbacks":[~]}'),
    "models": (CHAT, LISTED, '{"model":"small-1","models":[~]}'),
    "bare body": (MCP, LISTED, "~"),
}  # fmt: skip


def place_of_head(world: World, name: str) -> Place:
    """Make a place that is read before the caller is known."""
    most, units, make = HEAD[name]
    return Place(name, most, units, lambda text: decided(world, make(world, text)))


def place_of_body(world: World, name: str) -> Place:
    """Make a place in a message of an agent with a valid token."""
    path, units, body = BODIES[name]
    token = world.token()
    decided(world, check_request(world.svid, [("authorization", f"Bearer {token}")]))()

    def ask(text: str) -> Callable[[], object]:
        return decided(world, with_body(world, path, body.replace("~", text), token=token))

    return Place(name, MAX_BODY_BYTES - 256, units, ask, ",")


def place_of_token(world: World, part: str) -> Place:
    """Make a place in an unsigned token, in the part that is read before the signature."""

    def ask(text: str) -> Callable[[], object]:
        name = '"\\u003a"' if part.startswith("odd") else '"a"'
        parts = {
            "header": "{}",
            "payload": "{}",
            part.rsplit(maxsplit=1)[-1]: f"{{{name}:[{text}]}}",
        }
        token = ".".join(encoded(part) for part in [*parts.values(), "x"])
        return decided(world, check_request(world.svid, [("authorization", f"Bearer {token}")]))

    return Place(f"token {part}", TOKEN * 3 // 4 - 64, LISTED, ask, ",")


def encoded(text: str) -> str:
    """Encode as base64url without padding."""
    return urlsafe_b64encode(text.encode()).rstrip(b"=").decode()
