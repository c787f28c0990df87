"""An external decision point, asked by AuthZEN 1.0 after we have allowed: both must allow.

``evaluation`` writes the question and reads the answer, and ``client`` asks. The answer can only
turn an allow into a deny, or shorten it.
"""

from authz.adapters.pdp.client import AuthzenClient, PdpError, PdpResult, PdpStatus
from authz.adapters.pdp.settings import BreakerSettings, PdpSettings

__all__ = ["AuthzenClient", "BreakerSettings", "PdpError", "PdpResult", "PdpSettings", "PdpStatus"]
