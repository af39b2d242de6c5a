"""The gateway: server-sent events for browsers out of a model's gRPC stream.

``hypercorn --worker-class trio relay_gateway:app`` runs it as the environment says; the program
``relay-gateway`` does so by its flags. In the order in which a reader would want them:

``relay/``
    the story: one request, from the model's call to the events of its answer. Start with
    ``relay/relay.py``.
``web/``
    HTTP in front of it: routes, prompts, what is recorded, the page.
``server/``
    hypercorn, hardened; knows nothing of the relay.

Importing any of them does nothing: no environment is read, nothing is patched, nothing is built.
"""

from typing import Any

__all__ = ["app"]


class _Application:
    """The ASGI application, built when a server loads it and not when it is imported.

    hypercorn reads ``__call__`` as it wraps the application, before it looks up its worker: early
    enough for what ``server/patch.py`` replaces in it.
    """

    _built: Any = None

    @property
    def __call__(self) -> Any:
        """The application's own ``__call__``; builds the application the first time.

        Raises:
            SystemExit: a setting is wrong; its line is on stderr.

        """
        if self._built is None:
            from relay_gateway.web.asgi import application_of_environment  # noqa: PLC0415 - late

            self._built = application_of_environment()
        return self._built.__call__


app = _Application()
