"""The products that issue tokens, as configs and commands name them."""

from authz.core.choice import Choice


class IssuerKind(Choice):
    """The product that an issuer runs."""

    KEYCLOAK = "keycloak"
    ENTRA = "entra"
    AUTH0 = "auth0"
    OKTA = "okta"
    COGNITO = "cognito"
    GOOGLE = "google"
    KUBERNETES = "kubernetes"
    SPIRE = "spire"
    SPRING = "spring"
    AIRLOCK = "airlock"
    SERVICENOW = "servicenow"
    GITHUB = "github"
