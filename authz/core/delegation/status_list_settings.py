"""The ``status_list:`` of an issuer's settings: the lists that say which of its tokens count."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, Field, model_validator

from authz.core.delegation.oauth_client_settings import MAX_TIMEOUT_SECONDS
from authz.core.settings import Duration, FileText, MisfitError, Settings
from authz.core.urls import check_url, is_plaintext

ANY_BELOW: Final = "/*"  # at the end of a place: any list whose URL begins with the part before *
_MAX_LIST_BYTES: Final = 8 * 1024 * 1024


def _place(text: str) -> str:
    is_pattern = text.endswith(ANY_BELOW)
    url = check_url(text.removesuffix("*") if is_pattern else text)
    if "*" in url:
        raise ValueError("* stands only at the end, after a /, for any list below")
    if is_pattern and ("?" in url or "/../" in url or "/./" in url):
        raise ValueError("the part before * must be a plain path, without a query and dots")
    return text


class StatusListSettings(Settings):
    """The issuer's status lists (draft-ietf-oauth-status-list), which tokens with status name.

    A list is a JWT of the issuer, signed with its keys, by one of its algorithms. It is fetched
    when a token names it for the first time, and then again in the background, as its ttl says.
    """

    uris: tuple[Annotated[str, AfterValidator(_place)], ...] = Field(min_length=1, max_length=64)
    """URLs of the lists, byte for byte as tokens name them; "/*" at the end stands for any list
    below, such as https://as.corp.example/statuslists/*. A token that names another list is
    refused: lists are fetched from nowhere else.
    """
    ca_file: FileText | None = None
    """A file of PEM certificates to trust for the lists' servers, in place of the system's."""
    insecure: bool = False
    """Accept plain http:// in uris. Lists are signed, but anyone on the network path can then
    withhold a newer list until max_age.
    """
    allow_any_address: bool = False
    """Accept link-local, metadata and multicast addresses, where clouds keep secrets."""
    timeout: Duration = Field(default=5.0, ge=0.1, le=MAX_TIMEOUT_SECONDS)
    """The longest time that a complete fetch may take. A check waits for less time if its proxy's
    deadline is earlier.
    """
    max_bytes: int = Field(default=1024 * 1024, ge=1024, le=_MAX_LIST_BYTES)
    """The longest accepted list, in bytes, as it is sent: signed and compressed."""
    max_age: Duration = Field(default=300.0, ge=1.0, le=86400.0)
    """How old a list may be when it is used, since its fetch. A token that the issuer revokes is
    refused after that time at the latest, even if no newer list can be fetched; then its tokens
    with status are refused. A list's own exp may end its use sooner, and its ttl says when it is
    fetched again, which is after half of max_age at the latest.
    """

    @model_validator(mode="after")
    def _nobody_on_the_way(self) -> Self:
        for at, place in enumerate(self.uris):
            if is_plaintext(place) and not self.insecure:
                raise MisfitError(
                    "over plain http anyone on the network path can withhold newer lists: use"
                    " https, or set insecure: true",
                    "uris",
                    at,
                )
        return self
