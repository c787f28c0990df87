"""agentgateway's side of its MCP guardrails: messages as it makes them, and answers as it reads."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from google.protobuf.message import Message

from authz._pb import ext_mcp_pb2 as pb
from authz.edge import methods
from authz.edge.agentgateway import McpGuardrails
from lab.config_builder import LAB
from lab.mesh import TRAVEL
from support.canary import canary
from support.world import CREDENTIALS, PATIENCE_SECONDS, World

PATH = "/mcp"
# Two servers behind one gateway. The agent may use github for alice; of jira nothing but a session.
CHANGES = (
    LAB.with_(("profiles", "default"), {"identity": "metadata"})
    .with_routes("""\
- name: tools
  hosts: [github, jira]
  protocol: mcp
  resource: https://mcp.corp.example/finance
""")
    .with_rules(
        "finance-read",
        """\
- name: github
  hosts: [github]
  methods: [POST]
  paths: [/mcp]
  scopes: ["balance:read"]
  mcp:
    tools: [search, "get_*"]
    resources: ["repo://open/**", "ui://open/*"]
    prompts: [review]
- name: write
  hosts: [github]
  methods: [POST]
  paths: [/mcp]
  scopes: ["repo:write"]
  mcp: {tools: [write]}
- name: cheap
  hosts: [github]
  methods: [POST]
  paths: [/mcp]
  scopes: []
  mcp: {tools: [book]}
  when: operation.arguments.price <= 500.0
- name: listing
  hosts: [jira]
  methods: [POST]
  paths: [/mcp]
  scopes: []
  mcp: {tools: [lookup]}
- {name: everything, hosts: ["*"], methods: ["*"], paths: [/**], scopes: []}
""",
    )
)


def request(
    method: str,
    params: Any = None,
    *,
    token: str | None,
    targets: Iterable[str] = ("github",),
    agent: str | None = TRAVEL,
    path: str | None = PATH,
    headers: Iterable[tuple[str, str]] = (),
) -> pb.McpRequest:
    """Make the message of a call about to be made; ``params`` are JSON if they are bytes."""
    message = pb.McpRequest(method=method.encode())
    message.service_names.extend(name.encode() for name in targets)
    if params is not None:
        raw = params if isinstance(params, bytes) else json.dumps(params).encode()
        message.mcp_request = raw
    _describe(message, agent, {})
    sent = [*headers]
    if path is not None:
        sent += [(":authority", "gateway.corp.example"), (":path", path), (":method", "POST")]
    if token is not None:
        sent.append(("authorization", f"Bearer {token}"))
    for key, value in sent:
        message.headers.add(key=key, value=value.encode())
    return message


def response(
    method: str,
    result: Any,
    *,
    token: str | None,
    targets: Iterable[str] = ("github",),
    agent: str | None = TRAVEL,
    path: str | None = PATH,
    **described: Any,
) -> pb.McpResponse:
    """Make the message of a result, JSON if it is bytes. ``described`` goes beside the headers."""
    message = pb.McpResponse(method=method.encode())
    message.service_names.extend(name.encode() for name in targets)
    message.mcp_response = result if isinstance(result, bytes) else json.dumps(result).encode()
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    of_request = {"headers": headers, **({} if path is None else {"path": path}), **described}
    _describe(message, agent, {"agentgateway.request": of_request})
    return message


def _describe(
    message: pb.McpRequest | pb.McpResponse, agent: str | None, further: Mapping[str, Any]
) -> None:
    source = {} if agent is None else {"agentgateway.source": {"spiffe_id": agent}}
    message.metadata_context.update({**source, **further})


class Gateway:
    """A gateway that asks a core in this process."""

    def __init__(self, world: World) -> None:
        """Take the core."""
        self.world = world
        self._edge = McpGuardrails(world.service)

    def ask(
        self, message: pb.McpRequest | bytes, deadline: float | None = PATIENCE_SECONDS
    ) -> pb.McpRequestResult:
        """Ask about a call."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        answer = methods.answer(self._edge.check_request, data, lambda: deadline)
        canary.note("answer", _without_credential(answer))
        return pb.McpRequestResult.FromString(answer)

    def show(
        self, message: pb.McpResponse | bytes, deadline: float | None = PATIENCE_SECONDS
    ) -> pb.McpResponseResult:
        """Show a result."""
        data = message if isinstance(message, bytes) else message.SerializeToString()
        answer = methods.answer(self._edge.check_response, data, lambda: deadline)
        canary.note("answer", answer)
        return pb.McpResponseResult.FromString(answer)


def _without_credential(answer: bytes) -> bytes:
    """Return an answer without the headers' credential for an upstream: its only place."""
    result = pb.McpRequestResult.FromString(answer)
    for header in result.header_mutation.set:
        if header.key in CREDENTIALS:
            header.value = b""
    return result.SerializeToString()


def reason_of(answer: Message) -> str:
    """Return "pass" or "mutated", or the reason of a well-formed refusal."""
    assert isinstance(answer, pb.McpRequestResult | pb.McpResponseResult)
    kind = str(answer.WhichOneof("result"))
    assert kind in ("pass", "mutated", "error")
    if kind != "error":
        return kind
    error = json.loads(answer.error.mcp_error)
    assert error["message"] == answer.error.reason
    assert isinstance(error["code"], int)
    assert len(error["data"]["decision_id"]) == 32
    reason = str(error["data"]["reason"])
    assert answer.error.reason.startswith(reason)
    return reason


def call(gateway: Gateway, tool: str, **changes: Any) -> str:
    """Return the outcome of a tool's call with a valid token."""
    given_token = {"token": gateway.world.token()} | changes
    return reason_of(gateway.ask(request("tools/call", {"name": tool}, **given_token)))


def names(answer: pb.McpResponseResult, member: str = "tools", name: str = "name") -> list[str]:
    """Return the names in a list that was cut."""
    assert answer.WhichOneof("result") == "mutated"
    return [item[name] for item in json.loads(answer.mutated)[member]]
