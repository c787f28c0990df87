"""Searches a policy: who may do this, and what may this agent do.

Requirements that depend on the request (headers, times, conditions) are listed and not evaluated.
So an answer is an upper bound of what is allowed; ``authz explain`` tries a single request.
"""

from authz.review.search.holders import Holder, WhoCan, who_can
from authz.review.search.reach import Reach, WhatCan, what_can

__all__ = ["Holder", "Reach", "WhatCan", "WhoCan", "what_can", "who_can"]
