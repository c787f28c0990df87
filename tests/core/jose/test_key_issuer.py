"""Keys that name their issuer: used for it alone, as Entra ID's shared sets demand."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from authz.core.jose.jwk import KeySetError
from authz.core.jose.key_issuer import is_for_issuer
from support.jwks import jwk, parse, refusal

TENANT = "72f988bf-86f1-41af-91ab-2d7cd011db47"
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"
ENTRA = "https://login.microsoftonline.com"
V1, V2 = f"https://sts.windows.net/{TENANT}/", f"{ENTRA}/{TENANT}/v2.0"
ANY = f"{ENTRA}/{{tenantid}}/v2.0"
EXTERNAL = f"https://{TENANT}.ciamlogin.com/{TENANT}/v2.0"


@pytest.mark.parametrize(
    ("named", "issuer"),
    [
        (V2, V2),
        (V2, V1),
        (f"https://login.microsoftonline.us/{TENANT}/v2.0", V1),
        (ANY, V2),
        (ANY, V1),
        (ANY, "https://as.corp.example"),
        (ANY, "https://as.corp.example/v2.0"),
        (EXTERNAL, EXTERNAL),
        ("https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", EXTERNAL),
        ("https://as.corp.example", "https://as.corp.example"),
        ("urn:issuer", "urn:issuer"),
    ],
)
def test_for_the_issuer(named: str, issuer: str) -> None:
    """A key is for the issuer that it names, and for each tenant of its template."""
    keys, refused = parse(jwk(issuer=named), issuer=issuer)

    assert (set(keys), refused) == ({"k"}, ())


@pytest.mark.parametrize(
    ("named", "issuer"),
    [
        (f"{ENTRA}/{PERSONAL}/v2.0", V2),
        (f"{ENTRA}/{PERSONAL}/v2.0", V1),
        (V2, f"{ENTRA}/{PERSONAL}/v2.0"),
        (V2, "https://as.corp.example"),
        (V1, V2),
        (V2.upper(), V2),
        (f"{V2}/", V2),
        (V2, f"{V1}v2.0"),
        (ANY, f"{ENTRA}/{TENANT}"),
        (ANY, f"{ENTRA}/{TENANT}/v2.0/"),
        (ANY, f"{ENTRA}/a/b/v2.0"),
        (ANY, f"{ENTRA}//v2.0"),
        (ANY, f"{ENTRA}/v2.0"),
        (ANY, f"http{ENTRA[5:]}/{TENANT}/v2.0"),
        ("https://login.microsoftonline.us/{tenantid}/v2.0", V2),
        (ANY, EXTERNAL),
        (ANY, "urn:issuer"),
        ("https://{tenantid}.ciamlogin.com/{tenantid}/v2.0", EXTERNAL.replace(TENANT, PERSONAL, 1)),
        ("{tenantid}", V2),
        ("https://[{tenantid}", V2.replace("login", "[login")),
        (f"{ENTRA}/{{tenantid}}/v2.0" + "x" * 2048, V2),
        ("", V2),
        (5, V2),
        ([V2], V2),
        ({}, V2),
        (False, V2),
    ],
)
def test_for_another(named: Any, issuer: str) -> None:
    """A key that names another issuer, or no text, is not used and says why."""
    told = refusal(jwk(issuer=named), issuer)

    assert told == ("k", "for tokens of another issuer (its member issuer)")
    with pytest.raises(KeySetError, match="of another issuer"):
        parse(jwk(issuer=named), issuer=issuer)


def test_none_named() -> None:
    """A key without the member, or with null, is for the issuer whose set it is in."""
    assert set(parse(jwk(), issuer=V2)[0]) == {"k"}
    assert set(parse(jwk(issuer=None), issuer=V2)[0]) == {"k"}


def test_one_set_for_many_tenants() -> None:
    """Of a set that tenants share, each issuer has its own keys and those for all."""
    listed = (
        jwk(kid="all", issuer=ANY),
        jwk("RS256", kid="personal", issuer=f"{ENTRA}/{PERSONAL}/v2.0"),
        jwk("ES384", kid="ours", issuer=V2),
    )

    assert set(parse(*listed, issuer=V2)[0]) == {"all", "ours"}
    assert set(parse(*listed, issuer=f"{ENTRA}/{PERSONAL}/v2.0")[0]) == {"all", "personal"}
    assert set(parse(*listed, issuer=f"{ENTRA}/another/v2.0")[0]) == {"all"}


PIECES = st.sampled_from(["https://", "a", "/", "{tenantid}", ".", "[", "]", "(", "\\", "*", " "])
TEXTS = st.lists(PIECES, max_size=8).map("".join) | st.text(max_size=20)


@given(TEXTS, TEXTS)
def test_any_texts(named: str, issuer: str) -> None:
    """Any two texts have an answer; without a template it is yes for equal texts alone."""
    answer = is_for_issuer(named, issuer)

    assert is_for_issuer(issuer, issuer) or "{tenantid}" in issuer
    if "{tenantid}" not in named:
        assert answer == (named == issuer)
