"""Builds the running parts from a config: the only place where they are put together.

``snapshot`` builds what decides, ``parts`` what serves; ``policy_version`` names what decisions
depend on.
"""
