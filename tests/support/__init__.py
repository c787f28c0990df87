"""The things that tests share: a core in this process, real servers, clients, keys, models."""
