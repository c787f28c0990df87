"""``authz check``: what is wrong with a config and its files, and what its operator may regret.

``check`` is where to begin reading: it puts the others together. A module that ends in ``_checks``
finds errors, one that ends in ``_lint`` finds what is valid and probably not meant.
"""
