"""Reads the form of a token request."""

from urllib.parse import parse_qsl

from authz.core.reason import Reason
from authz.core.sts.errors import OAuthError, TokenRequestDenied
from authz.core.sts.request import MAX_PARAMETERS


def read_form(form: bytes) -> list[tuple[str, str]]:
    """Return the names and values of a form (WHATWG URL, application/x-www-form-urlencoded).

    Strict: ASCII before the decoding and UTF-8 after it, and each part with a "=". Raises
    TokenRequestDenied, which holds nothing of the form.
    """
    if not form:
        return []
    try:
        return parse_qsl(
            form.decode("ascii"),
            keep_blank_values=True,
            strict_parsing=True,
            errors="strict",
            max_num_fields=MAX_PARAMETERS,
        )
    except ValueError:  # UnicodeDecodeError is one
        detail = "the body is not a form, or has too many parameters"
        raise TokenRequestDenied(
            OAuthError.INVALID_REQUEST, Reason.MESSAGE_PARAMS, detail
        ) from None
