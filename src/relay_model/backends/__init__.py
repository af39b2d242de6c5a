"""What every backend offers, and which backends there are.

A backend is a function ``open_backend(settings)``: an async context manager that is entered once
for the life of the service, gets ready whatever answers prompts, and hands out a :class:`Backend`.
Its module is imported when it is chosen and not before, so the libraries that one backend needs
are nothing to the others.

Others come with packages of their own, which name the function in an entry point::

    [project.entry-points."token_relay.backends"]
    name = "package.module:open_backend"
"""

from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from relay_program.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from importlib.metadata import EntryPoint
    from types import ModuleType
    from typing import TypeAlias

    from relay_model.outcome import Outcome
    from relay_model.settings import ModelSettings

    Opener: TypeAlias = Callable[[ModelSettings], AbstractAsyncContextManager["Backend"]]

__all__ = [
    "BACKENDS",
    "Backend",
    "BuiltIn",
    "Pieces",
    "import_extra",
    "installed_backends",
    "is_known",
    "open_backend",
]

_GROUP = "token_relay.backends"


class BuiltIn(NamedTuple):
    """A backend that comes with the service, and what it needs."""

    module: str
    """Has its ``open_backend``."""
    summary: str
    extra: str | None = None
    """Installs the library that it needs."""
    library: str | None = None
    """That library."""
    variables: tuple[str, ...] = ()
    """What the library reads from the environment: keys have no other way in."""


BACKENDS: "Mapping[str, BuiltIn]" = {
    "demo": BuiltIn("relay_model.backends.demo", "repeats the prompt; no model"),
    "local": BuiltIn(
        "relay_model.backends.local",
        "llama.cpp in this process, with a GGUF file",
        extra="local",
        library="xllamacpp",
    ),
    "anthropic": BuiltIn(
        "relay_model.backends.anthropic",
        "Anthropic's models",
        extra="anthropic",
        library="anthropic",
        variables=("ANTHROPIC_API_KEY",),
    ),
    "openai": BuiltIn(
        "relay_model.backends.openai",
        "OpenAI's models, and with --base-url every server that speaks its API",
        extra="openai",
        library="openai",
        variables=("OPENAI_API_KEY",),
    ),
    "ollama": BuiltIn(
        "relay_model.backends.ollama",
        "an Ollama server",
        extra="ollama",
        library="ollama",
        variables=("OLLAMA_HOST",),
    ),
}
"""The backends that come with the service, by the names that people choose them by."""


class Pieces(Protocol):
    """An async iterator of the text of one answer, in the pieces in which it is made."""

    def __aiter__(self) -> "AsyncIterator[str]":
        """Return itself: the pieces are there once."""
        ...

    def __anext__(self) -> "Awaitable[str]":
        """Wait for the next piece, which need not be a whole word."""
        ...

    @property
    def outcome(self) -> "Outcome":
        """How the answer ended; means something once the iterator has come to its end."""
        ...


class Backend(Protocol):
    """Answers prompts, several at a time."""

    def stream(self, prompt: str, *, session_id: str) -> "AbstractAsyncContextManager[Pieces]":
        """Answer one prompt.

        Inside the context, the iterator gives the text in pieces and ends when the answer is
        complete. Leaving the context, by whatever way, stops generation: nothing of it runs on
        afterwards. No more contexts are open at a time than ``settings.max_concurrent``.

        Args:
            prompt: what was asked; not empty.
            session_id: groups the prompts of one conversation.

        Raises:
            BackendError: on entering or from the iterator. An answer that was cut short always
                raises; it never looks like a complete one.

        """
        ...


def is_known(name: str) -> bool:
    """Say whether there is a backend of this name."""
    return name in BACKENDS or name in installed_backends()


def installed_backends() -> "Mapping[str, EntryPoint]":
    """Find the backends of other packages; they cannot replace one that comes with the service."""
    found = entry_points(group=_GROUP)
    return {point.name: point for point in found if point.name not in BACKENDS}


def open_backend(settings: "ModelSettings") -> "AbstractAsyncContextManager[Backend]":
    """Import the chosen backend and return its context manager.

    Raises:
        StartupError: now or on entering, when what the backend needs is not there.

    """
    return _opener(settings.backend)(settings)


def _opener(name: str) -> "Opener":
    if name in BACKENDS:
        return cast("Opener", import_module(BACKENDS[name].module).open_backend)
    point = installed_backends()[name]
    try:
        return cast("Opener", point.load())
    except (ImportError, AttributeError) as error:
        message = f"the backend {name} ({point.value}) does not load: {error}"
        raise StartupError(message) from error


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
