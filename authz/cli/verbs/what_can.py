"""``authz what-can``: lists what an agent may do."""

import argparse

from authz.cli.agent_hint import agent_hint
from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.verbs.asked import read_claims
from authz.core.decision import Agent
from authz.core.spiffe import SpiffeId, SpiffeIdError
from authz.review.explain import Question, assumed
from authz.review.search import what_can
from authz.wiring.policy import build_policy


def run(options: argparse.Namespace) -> int:
    """List it, and return the exit status. Raises ConfigError."""
    config = load_config(options.config)
    try:
        agent = Agent(SpiffeId.parse(options.agent))
    except SpiffeIdError as error:
        return refuse(
            options, f"{options.agent}: {error}{agent_hint(config, options.agent)}", FAILED
        )
    question = Question(
        agent=options.agent,
        method="",
        url="",
        principal=options.principal,
        issuer=options.issuer,
        claims=read_claims(options),
    )
    delegation = assumed(config, question, 0.0) if options.principal else None
    with progress("searching"):
        found = what_can(build_policy(config), agent, delegation)
    answer(options, found.lines(), found.members)
    return FINE if found else FAILED
