"""What every backend offers, and which backends there are.

A backend is a module with ``open_backend(settings)``: an async context manager that is entered
once for the life of the service, gets ready whatever answers prompts, and hands out a
:class:`Backend`. Its module is imported when it is chosen and not before, so the libraries that
one backend needs are nothing to the others.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from relay_program.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from types import ModuleType

    from relay_model.settings import ModelSettings

__all__ = ["BACKENDS", "Backend", "import_extra", "open_backend"]

BACKENDS: "Mapping[str, str]" = {
    "demo": "relay_model.backends.demo",
    "local": "relay_model.backends.local",
}
"""The name a person chooses a backend by, and the module that has its ``open_backend``."""


class Backend(Protocol):
    """Answers prompts, several at a time."""

    def stream(
        self, prompt: str, *, session_id: str
    ) -> "AbstractAsyncContextManager[AsyncIterator[str]]":
        """Answer one prompt.

        Entering the context may wait for its turn. Inside it, the iterator gives the text in
        the pieces in which it is made and ends when the answer is complete. Leaving the
        context, by whatever way, stops generation: nothing of it runs on afterwards.

        Args:
            prompt: what was asked; not empty.
            session_id: groups the prompts of one conversation.

        Raises:
            BackendError: on entering or from the iterator. An answer that was cut short always
                raises; it never looks like a complete one.

        """
        ...


def open_backend(settings: "ModelSettings") -> "AbstractAsyncContextManager[Backend]":
    """Import the chosen backend and return its context manager.

    Raises:
        StartupError: now or on entering, when what the backend needs is not there.

    """
    module = import_module(BACKENDS[settings.backend])
    opener = cast(
        "Callable[[ModelSettings], AbstractAsyncContextManager[Backend]]", module.open_backend
    )
    return opener(settings)


def import_extra(name: str, *, extra: str) -> "ModuleType":
    """Import a library that only comes with one of our extras.

    Raises:
        StartupError: it is not installed, or is and does not load on this machine.

    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        message = f"{error.name} is not installed: pip install 'token-relay[{extra}]'"
        raise StartupError(message) from error
    except ImportError as error:
        message = f"{name} is installed but does not load: {error}"
        raise StartupError(message) from error
