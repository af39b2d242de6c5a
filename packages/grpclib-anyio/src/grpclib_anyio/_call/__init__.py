"""One gRPC call, at the client and at the server."""
