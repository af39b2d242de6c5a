"""The model service: answers prompts over gRPC, one token at a time.

In the order in which imports go, from the bottom:

``outcome``, ``errors``
    how an answer ends, and how it fails.
``backends/``
    what answers prompts: what a backend is, the backends themselves, and the registry of them.
``settings``
    what can be set.
``admission``, ``accounting``, ``metrics_server``
    how many prompts are answered at a time, and what is recorded of each.
``service``, ``serving``
    ``ai.AIService`` over a backend, and the server around it.
``commands/``, ``__main__``
    the program. For example ``relay-model --backend demo``.
"""
