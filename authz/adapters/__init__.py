"""The I/O of the service: a file or package for each thing outside of the process.

Issuers' ``keys``, the ``revocation_file``, the decision point (``pdp``), the ``audit`` log, the
``metrics`` and ``admin`` pages, the ``replay_store``. ``http_fetch``, ``files`` and ``tls`` are how
the others reach the network and the disk.
"""
