"""agentgateway's questions as a file of JSON has them, with names in place of tokens and ids."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from google.protobuf.json_format import MessageToDict

from authz._pb import ext_mcp_pb2 as pb
from support.agentgateway.recorder import Exchange

FILE: Final = Path(__file__).parents[1] / "data" / "agentgateway.json"
TOKEN: Final = "TOKEN"
DECISION_ID: Final = "DECISION_ID"
CERTIFICATE: Final = "CERTIFICATE"
SOURCE: Final = "agentgateway.source"
# What differs with each run, and that no reader of ours reads.
_OF_A_RUN: Final = frozenset({"mcp-session-id", "user-agent", "content-length", "traceparent"})
Question = pb.McpRequest | pb.McpResponse


class Shape(NamedTuple):
    """What a question is made of, without its values."""

    rpc: str
    method: str
    targets: int
    has_params: bool
    members: tuple[str, ...]
    metadata: tuple[str, ...]
    pseudo: tuple[str, ...]


def recorded() -> list[dict[str, Any]]:
    """Return the questions of the file."""
    questions: list[dict[str, Any]] = json.loads(FILE.read_text())["questions"]
    return questions


def message_of(question: Mapping[str, Any], values: Mapping[str, str]) -> Question:
    """Return a question as a message, with a value for each of the names."""
    text = json.dumps(question)
    for name, value in values.items():
        text = text.replace(name, json.dumps(value)[1:-1])
    given = json.loads(text)
    is_request = given["rpc"] == "CheckRequest"
    message: Question = pb.McpRequest() if is_request else pb.McpResponse()
    message.method = given["method"].encode()
    message.service_names.extend(name.encode() for name in given["targets"])
    message.metadata_context.update(given["metadata"])
    if isinstance(message, pb.McpResponse):
        message.mcp_response = json.dumps(given["result"]).encode()
        return message
    if "params" in given:
        message.mcp_request = json.dumps(given["params"]).encode()
    for name, value in given["headers"]:
        message.headers.add(key=name, value=value.encode())
    return message


def question_of(exchange: Exchange, token: str) -> dict[str, Any]:
    """Return a question that was asked, as the file has it."""
    is_request = exchange.rpc == "CheckRequest"
    message: Question = (pb.McpRequest if is_request else pb.McpResponse).FromString(
        exchange.question
    )
    metadata = MessageToDict(message.metadata_context)
    certificate = metadata.get(SOURCE, {}).get("certificate")
    before = metadata.get("agentgateway.before", {}).get("decision_id")
    question: dict[str, Any] = {
        "rpc": exchange.rpc,
        "method": message.method.decode(),
        "targets": [name.decode() for name in message.service_names],
        "metadata": metadata,
    }
    described = metadata.get("agentgateway.request", {}).get("headers", {})
    for name in _OF_A_RUN & described.keys():
        del described[name]
    if isinstance(message, pb.McpResponse):
        question["result"] = json.loads(message.mcp_response)
    else:
        headers = [(header.key, header.value.decode("latin-1")) for header in message.headers]
        question["headers"] = [[name, text] for name, text in headers if name not in _OF_A_RUN]
        if message.HasField("mcp_request"):
            question["params"] = json.loads(message.mcp_request)
    text = json.dumps(question)
    names = {token: TOKEN, before: DECISION_ID, certificate: CERTIFICATE}
    for value, name in names.items():
        text = text.replace(json.dumps(value)[1:-1], name) if value else text
    written: dict[str, Any] = json.loads(text)
    return written


def shape_of(question: Mapping[str, Any]) -> Shape:
    """Return the shape of a question."""
    pseudo = {name for name, _ in question.get("headers", ()) if name.startswith(":")}
    return Shape(
        question["rpc"],
        question["method"],
        len(question["targets"]),
        "params" in question,
        tuple(sorted(question.get("params", question.get("result", {})))),
        tuple(sorted(question["metadata"])),
        tuple(sorted(pseudo)),
    )
