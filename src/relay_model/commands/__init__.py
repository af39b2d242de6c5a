"""What ``relay-model`` does: serve, or with a first argument ``ask`` or list ``backends``.

For example ``relay-model ask "Hello"`` runs ``ask.main``.
"""
