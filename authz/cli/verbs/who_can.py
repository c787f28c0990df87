"""``authz who-can``: lists the agents and principals that may do something."""

import argparse

from authz.cli.common import FAILED, FINE, complain
from authz.cli.verbs.asked import read_call_flags
from authz.config import load
from authz.core.reason import Denied
from authz.core.request import Operation
from authz.core.routes import Routes
from authz.review.explain import Question, asked_in_words
from authz.review.search import who_can
from authz.wiring.policy import build_policy


def run(options: argparse.Namespace) -> int:
    """List them, and return the exit status. Raises ConfigError."""
    config = load(options.config)
    question = Question("", options.method, options.url, words=read_call_flags(options))
    try:
        request = asked_in_words(config, question, 0.0).request
        operation = Operation.of(request)
        route = Routes(config.routes).of(request, operation)
    except Denied as denied:
        complain(f"authz: no agent may: {denied.reason.code}: {denied.detail}")
        return FAILED
    alone = route.takes_svid_alone
    found = who_can(build_policy(config), operation, takes_svid_alone=alone)
    print("\n".join(found.lines()))
    return FINE if found else FAILED
