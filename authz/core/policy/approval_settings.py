"""The settings of a rule's approval: which element of a token approves a call, and how often."""

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from authz.core.delegation.settings import ApprovalType
from authz.core.settings import Settings
from authz.core.urls import check_url, is_plaintext

_PLACEHOLDERS: Final = ("{id}", "{authorization_details}")  # of a page's URL
_BRACES: Final = re.compile(r"\{[^{}]*\}?|\}")
ArgumentName = Annotated[str, Field(min_length=1, max_length=256)]


def _page(text: str) -> str:
    if is_plaintext(check_url(text)):
        raise ValueError("must be an https:// URL: the principal approves there")
    for found in _BRACES.findall(text):
        if found not in _PLACEHOLDERS:
            raise ValueError(
                f"{found} is nothing that is replaced: {' and '.join(_PLACEHOLDERS)} are"
            )
    return text


class ApprovalSettings(Settings):
    """An approval of each call by the principal, in the token's authorization_details (RFC 9396).

    A call without one is refused with approval_required, and the answer holds the element to ask
    the authorization server for.
    """

    type: ApprovalType
    """The type of the elements that approve calls, such as https://corp.example/authz/call. Tokens
    with authorization_details of other types are refused, as these may restrict them.
    """
    arguments: tuple[ArgumentName, ...] | None = Field(default=None, max_length=64)
    """The arguments of the call that an approval must name, each of which the call must have; []
    for none. Left out, all arguments, which only calls of MCP's tools, resources and prompts show.
    """
    url: Annotated[str, AfterValidator(_page)] | None = None
    """A page where the principal can approve. Clients of MCP 2025-11-25 are asked to open it (URL
    mode elicitation). {id} in it is replaced by the id of the refusal, {authorization_details} by
    the percent-encoded JSON of what is to be approved, with the arguments of the call.
    """
    once: bool = True
    """Whether an approval is for one request alone. Then decisions by the rule are not cached, and
    an approval needs its own jti, iat and exp, or a token with these.
    """
