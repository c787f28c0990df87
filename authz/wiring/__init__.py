"""Builds the running parts from a config: the only place where they are put together.

``snapshot`` builds the steps that decide, ``parts`` the parts that serve; ``policy_version`` hashes
the settings that decisions depend on.
"""
