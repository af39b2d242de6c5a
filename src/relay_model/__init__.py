"""The model service: answers prompts over gRPC, one token at a time."""
