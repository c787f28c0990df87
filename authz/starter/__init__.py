"""Makes what ``authz init`` writes: a folder for trying a server, an Envoy and tokens.

Nothing made here is for production: the CA's key is not kept, the issuer is a file, and its name
and its key's kid say so. Import from the modules: most of them import little, and start quickly.
"""
