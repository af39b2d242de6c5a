"""One HTTP/2 connection, of either side: its socket, its tasks and its streams."""
