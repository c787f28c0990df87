"""Step 1 of the pipeline, who calls: the agent's SPIFFE ID, as the proxy presents it.

Each kind of proxy has a profile that says where the ID stands. Only fields that the proxy itself
writes are read: ``source.principal``, ``source.certificate``, metadata, and the header
``x-forwarded-client-cert`` if the profile names the proxies that may have written it. If two of
them name the caller, they must agree.

``source.principal`` is the first name that Envoy found in the certificate: a URI, else a DNS name,
else the subject. So it is parsed as a SPIFFE ID; and a certificate, if there is one, must be the
SVID of the same ID (X509-SVID sections 2, 4 and 5.2).

The package itself offers the settings, and loads no more: ``authenticator`` applies them.
"""

from authz.core.identity.settings import ProfileSettings

__all__ = ["ProfileSettings"]
