"""Policy asked the other way round: who may do this, and what may this agent do.

Nothing is decided here. What depends on the request (headers, times, conditions) is told and not
judged, so an answer is what may be allowed at most; ``authz explain`` tries a single request.
"""

from authz.review.search.holders import Holder, WhoCan, who_can
from authz.review.search.reach import Reach, WhatCan, what_can

__all__ = ["Holder", "Reach", "WhatCan", "WhoCan", "what_can", "who_can"]
