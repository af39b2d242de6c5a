"""How a client gets a connection: addresses, attempts, backoff; and the timers of its calls."""
