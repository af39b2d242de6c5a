"""What answers prompts.

``protocol`` says what a backend is, ``settings`` what it can be told, and ``registry`` has the list
of backends. For example ``relay-model --backend demo`` answers without a model.
"""
