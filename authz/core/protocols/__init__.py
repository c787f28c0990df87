"""Readers of the messages that agents send: each request read as the calls that it makes.

A route names the protocol of its messages. A message that the upstream could read differently is
refused with a specific reason: a body that is cut, encoded or contradicts its headers, doubled
members, or a batch where the protocol does not have batches. Pure; nothing here decides whether a
call is allowed.
"""
