"""What becomes of the client's token: whether the upstream gets it."""

from authz.core.choice import Choice


class UpstreamToken(Choice):
    """What the upstream gets of the client's token: nothing, or the token itself."""

    STRIP = "strip"
    FORWARD = "forward"
