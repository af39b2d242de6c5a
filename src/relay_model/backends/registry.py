"""The list of backends, and how one is opened.

A backend is a function ``open_backend(settings)``. It returns an async context manager that is
entered once in the life of the service, prepares what answers prompts, and gives a
:class:`~relay_model.backends.protocol.Backend`::

    async with open_backend(settings) as backend:
        async with backend.stream(Conversation.of("Hello")) as pieces:
            text = "".join([piece async for piece in pieces])

The backend's module is imported when the backend is chosen and not before, so a service needs only
the libraries of its own backend.

Other packages bring backends too. Each names its function in an entry point::

    [project.entry-points."token_relay.backends"]
    name = "package.module:open_backend"

It may also name a generator function that answers, an async one (see ``functions``) or a plain one
(see ``threaded``).
"""

import re
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from importlib import import_module
from importlib.metadata import entry_points, requires
from inspect import isasyncgenfunction, isgeneratorfunction
from typing import TYPE_CHECKING, NamedTuple, cast

from pydantic import ValidationError

from relay_common.errors import StartupError, startup_error
from relay_model.backends.functions import FunctionBackend

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from importlib.metadata import EntryPoint
    from types import ModuleType
    from typing import TypeAlias

    from relay_model.backends.protocol import Backend
    from relay_model.backends.settings import BackendSettings

    Opener: TypeAlias = Callable[[BackendSettings], AbstractAsyncContextManager[Backend]]

__all__ = [
    "BACKENDS",
    "BuiltIn",
    "import_extra",
    "installed_backends",
    "is_known",
    "open_backend",
]

_DISTRIBUTION, _GROUP = "token-relay", "token_relay.backends"


class BuiltIn(NamedTuple):
    """A backend that comes with the service, and what it needs."""

    module: str
    """The module that defines its ``open_backend``."""
    summary: str
    """What it is, in one line for people."""
    extra: str | None = None
    """The extra of ``token-relay`` that installs its library, if it needs one."""
    library: str | None = None
    """The module of that library."""
    variables: tuple[str, ...] = ()
    """The environment variables that the library reads; keys have no other way in."""


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


def open_backend(settings: "BackendSettings") -> "AbstractAsyncContextManager[Backend]":
    """Import the backend that ``settings.backend`` names and return its context manager.

    Not a checkpoint; an import can take seconds, and nothing else of the event loop runs then.

    Raises:
        StartupError: now or on entering, when something that the backend needs is missing.

    """
    name = settings.backend
    opener = _built_in(BACKENDS[name]) if name in BACKENDS else _of_package(name)
    return opener(settings)


def _built_in(backend: BuiltIn) -> "Opener":
    # The library first: its absence is reported with what to install.
    if backend.library is not None and backend.extra is not None:
        import_extra(backend.library, extra=backend.extra)
    return cast("Opener", import_module(backend.module).open_backend)


def _of_package(name: str) -> "Opener":
    point = installed_backends()[name]
    try:
        loaded = point.load()
    except (ImportError, AttributeError) as error:
        message = f"the backend {name} ({point.value}) does not load: {error}"
        raise StartupError(message) from error
    if isasyncgenfunction(loaded):
        return lambda _settings: nullcontext(FunctionBackend(name, loaded))
    if isgeneratorfunction(loaded):
        # Needs an event loop's library, which --help does not.
        from relay_model.backends.threaded import open_threaded  # noqa: PLC0415

        return lambda settings: open_threaded(name, loaded, settings.max_concurrent)
    return _in_one_line(name, cast("Opener", loaded))


def _in_one_line(name: str, opener: "Opener") -> "Opener":
    """Make a start that fails in any way one line, as it is for the backends that come with us."""

    @asynccontextmanager
    async def open_(settings: "BackendSettings") -> "AsyncGenerator[Backend]":
        async with AsyncExitStack() as stack:
            try:
                backend = await stack.enter_async_context(opener(settings))
            except StartupError:
                raise
            except Exception as error:
                message = f"the backend {name} does not start: {_reason(error)}"
                raise _startup_error(error) or StartupError(message) from error
            yield backend

    return open_


def _startup_error(error: Exception) -> StartupError | None:
    if not isinstance(error, ExceptionGroup):
        return None
    return startup_error(cast("BaseExceptionGroup[BaseException]", error))


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):  # of settings of its own; never with their values
        wrong = error.errors(include_input=False, include_context=False)
        return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in wrong)
    return f"{type(error).__name__}: {' '.join(str(error).split())}"


def _requirements(extra: str) -> "Iterator[str]":
    """Give what an extra stands for; the package itself may be on no index."""
    for requirement in requires(_DISTRIBUTION) or ():
        needed, _, condition = requirement.partition(";")
        if re.search(rf"extra == ['\"]{extra}['\"]", condition):
            yield needed.strip()


def import_extra(name: str, *, extra: str) -> "ModuleType":
    """Import a library that only comes with an extra of ``token-relay``.

    Raises:
        StartupError: the library is not installed, or it does not load on this machine.

    """
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        needed = " ".join(f"'{requirement}'" for requirement in _requirements(extra))
        raise StartupError(f"{error.name} is not installed: pip install {needed}") from error
    except ImportError as error:
        message = f"{name} is installed but does not load: {error}"
        raise StartupError(message) from error
