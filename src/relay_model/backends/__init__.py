"""What answers prompts.

``protocol`` says what a backend is, ``settings`` what it can be told, and ``registry`` which
backends there are. For example ``relay-model --backend demo`` answers with ``demo``, which needs no
model.
"""
