"""The I/O of the service: a file or package for each system outside of the process.

These are the issuers' ``keys``, the ``revocation_file``, the decision point (``pdp``), the
``audit`` log, the ``metrics`` and ``admin`` pages, and the ``replay_store``. They reach the network
and the disk through ``http_fetch``, ``files`` and ``tls``.
"""
