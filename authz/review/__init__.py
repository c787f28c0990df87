"""Lets an operator review a config: explain, test, replay, and ask it the other way round.

The server needs nothing of this. The command's verbs call these modules, which ask the same
pipeline that the server runs.
"""
