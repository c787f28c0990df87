"""Receives the signals of issuers about their users and sessions: security events and logouts.

``receiver`` listens for pushed ones and ``poller`` asks for them; ``intake`` verifies them, and
``writer`` writes what follows. This package's name has the settings alone.
"""

from authz.adapters.signals.settings import LogoutSettings, SignalSettings, TransmitterSettings

__all__ = ["LogoutSettings", "SignalSettings", "TransmitterSettings"]
