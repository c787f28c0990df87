"""Lets an operator review a config: explain, test, replay, and search it.

The server does not use this. The command's verbs call these modules, which use the same pipeline as
the server.
"""
