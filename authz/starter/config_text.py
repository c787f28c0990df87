"""The config that ``authz init`` writes, which the README shows too: short, and commented."""

import json
import re
from typing import Final

import yaml

from authz.starter.marks import TRY_OUT_ISSUER
from authz.starter.settings import SERVER_ADDRESS, StarterSettings

_PLAIN: Final = re.compile(r"[A-Za-z_./][A-Za-z0-9_./-]*", re.ASCII)

_CONFIG: Final = """\
# yaml-language-server: $schema=schema.json
server:
  listen: {address}           # where Envoy asks; in production unix:/run/authz/authz.sock
trust_domains: [{trust_domain}]
profiles:
  default: {{certificate: required}} # Envoy's include_peer_certificate
issuers:
  - issuer: {issuer} # made by authz init, for trying; put your issuer here,
    keys: {{file: {jwks}}}    # with keys: {{jwks_uri: https://as.corp.example/jwks}}
    audiences: [{audience}]
    algorithms: [ES256]
agents:                            # what each agent may do at most
{agents}principals:                        # what each principal may do at most, through any agent
  - match: {{issuer: {issuer}, subjects: [alice]}}
    grants: [finance-read]
grants:
  finance-read:
    - hosts: [localhost]
      methods: [GET]
      paths: [/finance/**]
      scopes: ["balance:read"]
"""
_AGENT: Final = """\
  - id: {spiffe_id}
    grants: [finance-read]
"""


def config_text(settings: StarterSettings) -> str:
    """Return the config, as YAML."""
    return _CONFIG.format(
        address=":".join(map(str, SERVER_ADDRESS)),
        trust_domain=yaml_text(settings.trust_domain),
        issuer=TRY_OUT_ISSUER,
        jwks=yaml_text(settings.path("jwks.json")),
        audience=settings.url,
        agents="".join(_AGENT.format(spiffe_id=one) for one in settings.agents.values()),
    )


def yaml_text(text: str) -> str:
    """Return a text as YAML reads it back, in quotes if it has to be."""
    return text if _PLAIN.fullmatch(text) and _is_itself(text) else json.dumps(text)


def _is_itself(text: str) -> bool:
    """Tell whether YAML reads a text as it is: not 7, yes, null or a document's end, "..."."""
    try:
        return bool(yaml.safe_load(text) == text)
    except yaml.YAMLError:
        return False
