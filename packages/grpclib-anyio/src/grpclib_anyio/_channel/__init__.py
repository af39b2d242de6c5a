"""How a client comes by a connection: addresses, attempts, backoff, and its calls' timers."""
