"""``authz who-can``: lists the agents and principals that may do something."""

import argparse

from authz.cli.common import FAILED, FINE, answer, refuse
from authz.cli.progress import progress
from authz.cli.reading import load_config
from authz.cli.verbs.asked import read_call_flags
from authz.core.reason import Denied
from authz.core.request import Operation
from authz.core.routes import Routes
from authz.review.explain import Question, asked_in_words
from authz.review.search import who_can
from authz.wiring.policy import build_policy


def run(options: argparse.Namespace) -> int:
    """List them, and return the exit status. Raises ConfigError."""
    config = load_config(options.config)
    question = Question("", options.method, options.url, words=read_call_flags(options))
    try:
        request = asked_in_words(config, question, 0.0).request
        operation = Operation.of(request)
        route = Routes(config.routes).of(request, operation)
    except Denied as denied:
        return refuse(options, f"no agent may: {denied.reason.code}: {denied.detail}", FAILED)
    alone = route.takes_svid_alone
    with progress("searching"):
        found = who_can(build_policy(config), operation, takes_svid_alone=alone)
    answer(options, found.lines(), found.members)
    return FINE if found else FAILED
