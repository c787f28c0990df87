"""The good config that the corpus breaks, and the form of the corpus's rows."""

from typing import Final, NamedTuple

HERE: Final = "@@"  # stands on the line that is told, and is taken out
BASE: Final = """\
server:
  listen: unix:/run/authz/authz.sock
  drain: 5s
admin:
  listen: 127.0.0.1:9192
trust_domains: [corp.example]
profiles:
  default:
    identity: principal
issuers:
  - issuer: https://as.corp.example
    keys:
      jwks_uri: https://as.corp.example/jwks
      refresh: 5m
    audiences: [https://orders.corp.example]
    algorithms: [ES256]
    actor:
      claim: act
agents:
  - id: spiffe://corp.example/ns/agents/sa/travel
    grants: [orders-read]
principals:
  - match:
      issuer: https://as.corp.example
      groups: [buyers]
    grants: [orders-read]
routes:
  - name: orders
    hosts: [orders.corp.example]
    paths: [/orders/**]
    resource: https://orders.corp.example
grants:
  orders-read:
    - hosts: [orders.corp.example]
      methods: [GET]
      paths: [/orders/**]
      scopes: ["orders:read"]
"""


class Broken(NamedTuple):
    """A text of the base, what somebody wrote in its place, and what has to be told.

    Attributes:
        old: the text of the base, of which the first occurrence is replaced.
        new: what stands in its place, with HERE on the line that is told.
        cause: words that say what is wrong, the place among them.
        cure: words that say what would be right.
    """

    old: str
    new: str
    cause: str
    cure: str


class Whole(NamedTuple):
    """A whole file, the line that is told, and words of the cause and the cure."""

    data: bytes
    line: int
    cause: str
    cure: str
