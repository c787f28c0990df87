"""What tests are made of: a core in this process, real servers, clients, keys, models."""
