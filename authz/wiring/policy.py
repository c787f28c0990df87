"""Compiles the rules of a config, for the server and for all commands that evaluate policy."""

from authz.config import Config
from authz.core.policy.policy import Policy
from authz.core.policy.shadow import PolicyStep, PolicyWithCandidate, ShadowedPolicy


def build_policy(config: Config) -> Policy:
    """Compile a config's rules."""
    return Policy(
        config.agents,
        config.principals,
        config.grants,
        config.earlier_actors,
        config.conditions,
    )


def build_policy_step(
    config: Config, policy: PolicyStep, candidate: Policy | None = None
) -> PolicyStep:
    """Build step 3 of a policy: in shadow if the config says so, beside a candidate if given."""
    step = ShadowedPolicy(policy) if config.shadow else policy
    return step if candidate is None else PolicyWithCandidate(step, candidate)
