"""``relay-demo``: the model service and the gateway in one process."""
