"""Presents a recorded CheckRequest as the server would."""

from authz._pb import ext_authz_pb2 as pb
from authz.config import Config
from authz.core.identity.authenticator import AgentAuthenticator
from authz.core.routes import Routes
from authz.edge.envoy.presenting import present_check
from authz.edge.envoy.reader import read_check
from authz.edge.presentation import Kept
from authz.edge.presenting import Sight
from authz.wiring.policy import build_policy
from authz.wiring.snapshot import build_inputs, build_reads


def present_recorded(config: Config, message: pb.CheckRequest, now: float, proxy: str = "") -> Kept:
    """Return the presentation of a message at its own time, else at ``now`` (unix seconds)."""
    policies = [build_policy(config)]
    routes = Routes(config.routes)
    agents = AgentAuthenticator(config.trust_domains, config.profiles)
    sight = Sight(agents, routes, build_reads(config, policies).credentials)
    request = read_check(build_inputs(config, policies, routes), message, proxy).request
    began = message.attributes.request.time
    seen = present_check(sight, message, request, began.seconds + began.nanos / 1e9 or now)
    return Kept(seen, with_credential=int(bool(seen.headers.credentials)))
