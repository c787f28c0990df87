"""An external decision point, asked through AuthZEN 1.0 after our own allow: both must allow.

``evaluation`` writes the question and reads the answer, and ``client`` asks. The answer can only
turn an allow into a deny, or shorten it. The package itself offers the settings, and loads no more.
"""

from authz.adapters.pdp.settings import BreakerSettings, PdpSettings

__all__ = ["BreakerSettings", "PdpSettings"]
