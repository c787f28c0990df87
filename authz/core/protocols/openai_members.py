"""Members of model calls that are known not to redefine the model, tool, key or address.

A gateway in front of the models accepts more members than the public APIs have, and some of them
redefine what a model's name stands for: LiteLLM's ``user_config``, ``api_base`` and
``router_settings_override``, for instance. A list of these could never be complete. So this is a
list of harmless members: those of the public APIs of OpenAI and Anthropic (2026-11), and those of
OpenRouter and LiteLLM that are read here. Members of these APIs that name a further model in a way
that is not read ("moderation" of a conversation, "svg"), or whose account is charged, are left out.
"""

import re
from collections.abc import Mapping
from itertools import compress
from operator import not_
from typing import Any, Final

from authz.core.protocols.json_members import MemberNames, folded, names
from authz.core.protocols.message import MessageInput
from authz.core.protocols.query_parameters import parameters
from authz.core.reason import Denied, Reason

# Members that are read as a part of the call, whichever endpoint it goes to.
READ: Final = names(
    "model", "models", "fallbacks", "stream", "tools", "functions", "mcp_servers", "plugins",
    "container", "web_search_options", "prompt", "prompt_id", "preset", "extra_body", "metadata",
)  # fmt: skip
_SAMPLING: Final = names(
    "frequency_penalty", "logit_bias", "logprobs", "max_tokens", "n", "presence_penalty", "seed",
    "stop", "stream_options", "temperature", "top_p", "user",
)  # fmt: skip
_CACHING: Final = names("prompt_cache_key", "prompt_cache_options", "prompt_cache_retention")
_CLAUDE: Final = names(
    "cache_control", "compaction", "context_management", "diagnostics", "messages",
    "output_config", "output_format", "speed", "system", "thinking", "tool_choice",
)  # fmt: skip
_OWN: Final[Mapping[str, MemberNames]] = {
    "chat/completions": {
        **_SAMPLING,
        **_CACHING,
        **names(
            "audio", "function_call", "max_completion_tokens", "messages", "modalities",
            "parallel_tool_calls", "prediction", "reasoning_effort", "response_format",
            "safety_identifier", "service_tier", "store", "tool_choice", "top_logprobs",
            "verbosity",
        ),
    },
    "completions": {**_SAMPLING, **names("best_of", "echo", "suffix")},
    "responses": {
        **_CACHING,
        **names(
            "background", "background_options", "context_management", "conversation", "image",
            "include", "input", "instructions", "max_output_tokens", "max_tool_calls",
            "parallel_tool_calls", "previous_response_id", "reasoning", "safety_identifier",
            "service_tier", "store", "stream_options", "temperature", "text", "tool_choice",
            "top_logprobs", "top_p", "truncation", "user",
        ),
    },
    "embeddings": names("dimensions", "encoding_format", "input", "user"),
    "moderations": names("input"),
    "images/generations": names(
        "background", "complexity", "frame_count", "frame_duration_ms", "moderation", "n",
        "output_compression", "output_format", "partial_images", "quality", "response_format",
        "safety_identifier", "size", "style", "user",
    ),
    "audio/speech": names(
        "input", "instructions", "response_format", "speed", "stream_format", "voice"
    ),
    "messages": {
        **_CLAUDE,
        **names(
            "inference_geo", "max_tokens", "service_tier", "stop_sequences", "temperature", "top_k",
            "top_p",
        ),
    },
    "messages/count_tokens": _CLAUDE,
}  # fmt: skip
# The members that a body may have, by endpoint.
KNOWN: Final[Mapping[str, MemberNames]] = {method: {**READ, **own} for method, own in _OWN.items()}
# The same, in the usual spelling: these names need no further check.
_SPELLED: Final = {method: frozenset(known.values()) for method, known in KNOWN.items()}
# Parameters of a query: the version of Azure's API, and of Anthropic's. LiteLLM takes "model" there
# and then ignores the model in the body.
_PARAMETERS: Final = frozenset({"api-version", "beta"})
_MAX_METADATA_CHARS: Final = 512  # of a value, as OpenAI has it
_METADATA: Final = "metadata"
_SHOWN: Final = re.compile("[A-Za-z_-]{1,40}")  # no digits, which keys and tokens have


def require_known_query(sent: MessageInput) -> None:
    """Refuse a query that may redefine the call. Raises Denied(BODY_UNINSPECTABLE)."""
    if not sent.query:
        return
    for parameter, _ in parameters(sent):
        if parameter and parameter not in _PARAMETERS | sent.extra_members:
            raise _unknown("parameter of the query", parameter)


def require_known(sent: MessageInput, method: str, body: Mapping[str, Any]) -> None:
    """Refuse a member that may redefine the call. Raises Denied(BODY_UNINSPECTABLE)."""
    if not body.keys() <= _SPELLED[method]:
        _require_known_letters(method, body, names(*sent.extra_members))
    if _METADATA not in sent.extra_members:
        _require_texts(body.get(_METADATA))


def _require_known_letters(method: str, body: Mapping[str, Any], extra: MemberNames) -> None:
    """Refuse a member that is not known by its letters either; metadata has only one spelling."""
    spelled = folded(body)
    known = KNOWN[method].keys() | extra.keys()
    unknown = list(compress(body, map(not_, map(known.__contains__, spelled))))
    if _METADATA not in extra:
        unknown += set(compress(body, map(_METADATA.__eq__, spelled))) - {_METADATA}
    if unknown:
        raise _unknown("member", min(unknown))  # the same in whatever order they are written


def _require_texts(metadata: object) -> None:
    """Refuse metadata that is more than short remarks: a gateway may read it as settings."""
    is_plain = isinstance(metadata, dict) and all(map(_is_remark, metadata.values()))
    if metadata is not None and not is_plain:
        detail = "metadata is not an object of short texts; extra_members of the route may list it"
        raise Denied(Reason.BODY_UNINSPECTABLE, detail)


def _is_remark(value: object) -> bool:
    return value is None or (isinstance(value, str) and len(value) <= _MAX_METADATA_CHARS)


def _unknown(what: str, name: str) -> Denied:
    """Return the refusal, with the name if it is a word.

    Any other text of a client may be a secret.
    """
    shown = f" {name}" if _SHOWN.fullmatch(name) else ""
    detail = f"the {what}{shown} may redefine the call; extra_members of the route may list it"
    return Denied(Reason.BODY_UNINSPECTABLE, detail)
