"""hypercorn, hardened; imports nothing of the relay."""
