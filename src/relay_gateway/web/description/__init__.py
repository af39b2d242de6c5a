"""The gateway's HTTP interface, described: ``/openapi.json``, and ``/docs`` for people.

``operation`` has the words of a description. ``native``, ``chat`` and ``monitoring`` say with them
what each path answers, ``document`` makes OpenAPI of that, and ``page`` makes HTML of the document.
What a request may have comes from the models that validate it.
"""
