"""Readers of the messages that agents send: each request read as the calls that it makes.

A route says which protocol its messages are in. A message that the server behind could read in
another way than we do is refused with a reason of its own: a body that is cut, encoded, doubled or
at odds with its headers, a batch where the protocol has none. Pure: nothing here decides whether a
call is allowed.
"""
