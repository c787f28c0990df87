"""Logs a user in at Keycloak's page, as a browser does, for an authorization code."""

import html
import re
import secrets
import urllib.error
import urllib.request
from http.cookiejar import CookieJar
from urllib.parse import parse_qs, urlencode, urlsplit

_FORM = re.compile(r'<form[^>]* action="([^"]+)"')


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Follow nothing: the code is in the address."""


def log_in(
    realm_url: str, *, client_id: str, redirect_uri: str, user: str, password: str, scope: str
) -> str:
    """Return the authorization code (RFC 6749 section 4.1.2). Raises ValueError without one."""
    jar = CookieJar()
    browser = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar), _NoRedirect)
    query = {
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "response_type": "code",
        "scope": scope,
        "state": secrets.token_urlsafe(),
        "nonce": secrets.token_urlsafe(),
    }
    with browser.open(f"{realm_url}/protocol/openid-connect/auth?{urlencode(query)}") as page:
        form = _FORM.search(page.read().decode())
    if form is None:
        raise ValueError("its page has no form")
    for cookie in jar:
        cookie.secure = False  # browsers send it to loopback without TLS
    filled = urlencode({"username": user, "password": password}).encode()
    try:
        browser.open(html.unescape(form[1]), filled).close()
    except urllib.error.HTTPError as redirect:
        codes = parse_qs(urlsplit(redirect.headers.get("location", "")).query).get("code")
        if codes:
            return codes[0]
    raise ValueError("it did not let the user in")
