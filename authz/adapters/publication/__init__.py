"""Publishes the public keys and the metadata of an issuer of ours on an address of its own."""
