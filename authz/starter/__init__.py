"""What ``authz init`` writes: a folder with which a server, an Envoy and tokens can be tried.

Nothing that is made here is for production: the CA's key is forgotten, the issuer is a file, and
its name and its key's kid say so. Import from the modules: most need little, and start quickly.
"""
