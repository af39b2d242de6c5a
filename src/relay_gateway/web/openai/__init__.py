"""OpenAI's API in front of the relay: ``POST /v1/chat/completions`` and ``GET /v1/models``.

``request`` reads what is asked, ``chunks`` and ``completion`` write the answer, streamed or whole,
``errors`` says what went wrong, and ``routes`` combines them.
"""
