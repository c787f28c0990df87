"""Helps the verbs about consents: opens the sources, shows consents, and takes them back."""
