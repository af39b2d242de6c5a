"""One HTTP/2 stream as a call sees it: messages in, messages out, its state, and how it ends."""
