"""The story: one request, from the model's call to the events of its answer."""
