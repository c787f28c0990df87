"""This server as an OAuth client of an issuer, which asks its endpoints and authenticates there."""

from authz.adapters.oauth_client.credential import Credential, CredentialError

__all__ = ["Credential", "CredentialError"]
