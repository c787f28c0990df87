"""A2A over gRPC: from a client through a real Envoy, route and policy to the agent behind."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

from authz.core.protocols.a2a_methods import GRPC_METHODS
from authz.core.request import Call, CallKind
from lab.config_builder import LAB, ConfigBuilder
from lab.envoy import Envoy, bootstrap
from lab.mesh import STRANGER, TRAVEL, Mesh, Server
from support.call_rules import code, policy, refusal, rule
from support.call_rules import queries as asked
from support.world import World, check_request, reason_of

SERVICE = "lf.a2a.v1.A2AService"
# As A2A 1.0 has them (section 10), apart from our own table.
METHODS = [
    "SendMessage",
    "SendStreamingMessage",
    "GetTask",
    "ListTasks",
    "CancelTask",
    "SubscribeToTask",
    "CreateTaskPushNotificationConfig",
    "GetTaskPushNotificationConfig",
    "ListTaskPushNotificationConfigs",
    "DeleteTaskPushNotificationConfig",
    "GetExtendedAgentCard",
]
STREAMED = {"SendStreamingMessage", "SubscribeToTask"}
TASK = b"\x12\x02t1"  # a message of protobuf: a field with a task's id


def changes(*rules: str, effect: str = "allow") -> ConfigBuilder:
    """Let the travel agent do, for alice, what these keys of a2a say."""
    effects = ["scopes: []"] * len(rules)
    if effect == "deny":
        effects[-1] = "effect: deny"
    written = [
        f"- {{{_AT}, {said}, a2a: {{{keys}}}}}\n" for said, keys in zip(effects, rules, strict=True)
    ]
    route = f"[{{name: helper, paths: [/{SERVICE}/*], protocol: a2a}}]"
    return LAB.with_routes(route).with_rules("finance-read", "".join(written))


_AT = f'hosts: ["*"], methods: [POST], paths: [/{SERVICE}/*]'
TASKS = 'methods: ["*"], tasks: ["*"]'
SKILLS = 'methods: [SendMessage, SendStreamingMessage], skills: ["*"]'


class Helper:
    """An agent that speaks A2A over gRPC, and answers each message with itself."""

    def __init__(self) -> None:
        """Start serving on a free port."""
        self.methods: list[str] = []
        self.metadata: list[dict[str, Any]] = []
        self._server = grpc.server(ThreadPoolExecutor(2))
        handlers: dict[str, Any] = {}
        for name in GRPC_METHODS:
            handlers[name] = (
                grpc.unary_stream_rpc_method_handler(self._streamed(name))
                if name in STREAMED
                else grpc.unary_unary_rpc_method_handler(self._answered(name))
            )
        handler = grpc.method_handlers_generic_handler(SERVICE, handlers)
        self._server.add_generic_rpc_handlers([handler])
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _answered(self, name: str) -> Callable[[bytes, grpc.ServicerContext], bytes]:
        def answer(message: bytes, context: grpc.ServicerContext) -> bytes:
            self.methods.append(name)
            self.metadata.append(dict(context.invocation_metadata()))
            return message

        return answer

    def _streamed(self, name: str) -> Callable[[bytes, grpc.ServicerContext], Iterator[bytes]]:
        answer = self._answered(name)

        def stream(message: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
            yield answer(message, context)
            yield message

        return stream

    def close(self) -> None:
        """Stop serving."""
        self._server.stop(0).wait()


class Way:
    """A channel of an agent through Envoy to the helper, by one config."""

    def __init__(self, mesh: Mesh, folder: Path, config: ConfigBuilder) -> None:
        """Start the helper, a server with this config, and an Envoy in front."""
        self.mesh = mesh
        self.helper = Helper()
        self.server: Server = mesh.server(folder.name, config).wait_ready()
        http2 = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
        text = bootstrap(
            server=mesh.gateway,
            bundle=mesh.authority.path,
            upstream_port=mesh.upstream.port,
            mcp_port=self.helper.port,
            sockets=[self.server.socket],
            changes={
                "- match: {prefix: /trips/}": f"- match: {{prefix: /{SERVICE}/}}",
                "    - name: mcp\n": f"""\
    - name: mcp
      typed_extension_protocol_options:
        {http2}:
          "@type": type.googleapis.com/{http2}
          explicit_http_config: {{http2_protocol_options: {{}}}}
""",
            },
        )
        self.envoy = Envoy(folder, text).wait_ready()

    def call(self, name: str, agent: str = TRAVEL, **how: Any) -> tuple[grpc.StatusCode, str]:
        """Call a method: the status, and what is said with it."""
        svid = self.mesh.authority.issue(agent)
        credentials = grpc.ssl_channel_credentials(
            self.mesh.authority.path.read_bytes(),
            svid.key_path.read_bytes(),
            svid.certificate_path.read_bytes(),
        )
        options = [("grpc.ssl_target_name_override", "localhost")]
        token = how.get("token", self.mesh.issuer.token(agent, scope=""))
        metadata = (("authorization", f"Bearer {token}"), *how.get("metadata", ()))
        target = f"127.0.0.1:{self.envoy.port}"
        with grpc.secure_channel(target, credentials, options) as channel:
            path = f"/{how.get('service', SERVICE)}/{name}"
            try:
                if name in STREAMED:
                    parts = list(channel.unary_stream(path, None, None)(TASK, 10, metadata))
                    assert parts == [TASK, TASK]
                else:
                    assert channel.unary_unary(path, None, None)(TASK, 10, metadata) == TASK
            except grpc.RpcError as error:
                return error.code(), str(error.details())
        return grpc.StatusCode.OK, ""

    def close(self) -> None:
        """Stop what was started here."""
        self.envoy.stop()
        self.server.process.stop()
        self.helper.close()


@pytest.fixture(scope="module")
def way(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Way]:
    """A way on which everything of A2A may be asked, but for what is denied."""
    way = Way(
        mesh,
        tmp_path_factory.mktemp("a2a"),
        changes(TASKS, SKILLS, "methods: [CancelTask]", effect="deny"),
    )
    yield way
    way.close()


@pytest.mark.e2e
@pytest.mark.parametrize("method", [name for name in METHODS if name != "CancelTask"])
def test_each_method_reaches_the_agent(way: Way, method: str) -> None:
    """What a rule allows reaches the agent behind, with our headers and without the token."""
    before = len(way.helper.methods)

    assert way.call(method) == (grpc.StatusCode.OK, "")
    assert way.helper.methods[before:] == [method]
    metadata = way.helper.metadata[-1]
    assert (metadata["x-agent-id"], metadata["x-agent-principal"]) == (TRAVEL, "alice")
    assert "authorization" not in metadata


@pytest.mark.e2e
def test_what_does_not_reach_the_agent(way: Way) -> None:
    """A refusal is told as gRPC's own status, with the reason, and reaches nobody."""
    before = len(way.helper.methods)
    told = [
        way.call("CancelTask"),
        way.call("GetTask", STRANGER),
        way.call("GetTask", token="x.y.z"),
        way.call("GetTask", metadata=[("a2a-version", "9.0")]),
    ]

    assert [status.name for status, _ in told] == [
        "PERMISSION_DENIED",
        "PERMISSION_DENIED",
        "UNAUTHENTICATED",
        "PERMISSION_DENIED",
    ]
    reasons = ["policy_denied", "agent_unknown", "token_malformed", "body_uninspectable"]
    for (_, details), reason in zip(told, reasons, strict=True):
        assert reason in details
    assert way.helper.methods[before:] == []


SENDING = {"SendMessage", "SendStreamingMessage"}
RULES: list[tuple[list[str], set[str]]] = [
    ([TASKS, SKILLS], set()),
    ([TASKS], SENDING),
    (['methods: ["*"], tasks: ["*"], skills: ["*"]'], {"ListTasks", "GetExtendedAgentCard"}),
    (['methods: ["*"], tasks: ["t*"]', SKILLS], set(METHODS) - {"ListTasks", METHODS[-1]}),
    ([TASKS, 'methods: ["*"], skills: ["a*"]'], SENDING),
    (['methods: [GetTask, ListTasks], tasks: ["*"]'], set(METHODS) - {"GetTask", "ListTasks"}),
    (['methods: [SendMessage], tasks: ["*"]', SKILLS], set(METHODS)),
]


@pytest.mark.parametrize(("rules", "refused"), RULES)
def test_rules(tmp_path: Path, rules: list[str], refused: set[str]) -> None:
    """Only a list of any task fits a task that can't be read; a message needs one of skills too."""
    with World(tmp_path, changes(*rules)) as world:
        headers = [
            ("authorization", f"Bearer {world.token()}"),
            ("content-type", "application/grpc"),
        ]
        answers = {
            name: reason_of(
                world.check(
                    check_request(world.svid, headers, method="POST", path=f"/{SERVICE}/{name}")
                )
            )
            for name in METHODS
        }
        records = world.audit_records()

    assert {name for name, reason in answers.items() if reason != "allow"} == refused
    assert set(answers.values()) <= {"allow", "policy_denied"}
    assert records[2]["calls"] == [{"method": "GetTask", "kind": "task", "name": ""}]


def unread(kind: CallKind = CallKind.TASK) -> Call:
    """A call about something whose name can't be read."""
    return Call("GetTask", kind)


@pytest.mark.parametrize("kind", [CallKind.TASK, CallKind.SKILL])
def test_a_deny_of_any_name_is_for_what_cannot_be_read(kind: CallKind) -> None:
    """What a deny names may be what is meant: so it denies what can't be read."""
    allow = rule(a2a={"methods": ("*",), "tasks": ("*",), "skills": ("*",)})
    other = CallKind.SKILL if kind is CallKind.TASK else CallKind.TASK

    assert code(policy(allow), unread(kind), protocol="a2a") == "allow"
    for denied in (("t-1",), ("*",), ("x*",)):
        subject = policy(allow, rule(effect="deny", a2a={f"{kind}s": denied}))
        assert code(subject, unread(kind), protocol="a2a") == "policy_denied"
        assert code(subject, unread(other), protocol="a2a") == "allow"
    others = policy(allow, rule(effect="deny", a2a={"methods": ("CancelTask",)}))
    assert code(others, unread(kind), protocol="a2a") == "allow"


def test_what_an_operator_is_told() -> None:
    """The refusal says which list would do."""
    subject = policy(rule(a2a={"methods": ("*",), "tasks": ("t-*",)}))
    denied = refusal(subject, asked(unread(), protocol="a2a"))

    assert denied is not None
    assert 'tasks: ["*"]' in denied.detail


@pytest.mark.parametrize(
    ("condition", "allowed", "denied"),
    [
        ('operation.name == "t-1"', False, True),
        ('operation.name != "t-1"', False, True),
        ('operation.name == ""', False, True),
        ('operation.kind == "task"', True, True),
        ('operation.kind == "skill"', False, False),
        ('operation.kind == "skill" || operation.name == ""', False, True),
    ],
)
def test_conditions_on_a_name(condition: str, *, allowed: bool, denied: bool) -> None:
    """A condition on a name that can't be read allows nothing, and denies."""
    keys = {"methods": ("*",), "tasks": ("*",), "skills": ("*",)}
    allow = policy(rule(a2a=keys, when=condition))
    deny = policy(rule(a2a=keys), rule(effect="deny", a2a={"methods": ("*",)}, when=condition))

    assert (code(allow, unread(), protocol="a2a") == "allow") is allowed
    assert (code(deny, unread(), protocol="a2a") != "allow") is denied
