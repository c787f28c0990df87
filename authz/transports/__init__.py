"""Transports: carry checks between proxies and the methods that answer them."""
