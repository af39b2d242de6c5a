"""``relay-demo``: the model service and the gateway in one process.

For example ``relay-demo --port 8000``, and then http://127.0.0.1:8000/ in a browser.
"""
