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
from typing import TYPE_CHECKING, NamedTuple, cast

from relay_common.errors import StartupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractAsyncContextManager
    from importlib.metadata import EntryPoint
    from types import ModuleType
    from typing import TypeAlias

    from relay_model.backends.protocol import Backend
    from relay_model.settings import ModelSettings

    Opener: TypeAlias = Callable[[ModelSettings], AbstractAsyncContextManager[Backend]]

__all__ = [
    "BACKENDS",
    "BuiltIn",
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
        "relay_model.backends.local.backend",
        "llama.cpp in this process, with a GGUF file",
        extra="local",
        library="xllamacpp",
    ),
    "anthropic": BuiltIn(
        "relay_model.backends.providers.anthropic",
        "Anthropic's models",
        extra="anthropic",
        library="anthropic",
        variables=("ANTHROPIC_API_KEY",),
    ),
    "openai": BuiltIn(
        "relay_model.backends.providers.openai",
        "OpenAI's models, and with --base-url every server that speaks its API",
        extra="openai",
        library="openai",
        variables=("OPENAI_API_KEY",),
    ),
    "ollama": BuiltIn(
        "relay_model.backends.providers.ollama",
        "an Ollama server",
        extra="ollama",
        library="ollama",
        variables=("OLLAMA_HOST",),
    ),
}
"""The backends that come with the service, by the names that people choose them by."""


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
