"""A config reviewed by its operator: explained, tested, replayed, asked the other way round.

Nothing here decides on a request, nor is needed to: the verbs of the command ask these modules, and
they ask the very pipeline that the server runs.
"""
