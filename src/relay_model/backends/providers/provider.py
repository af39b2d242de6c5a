"""What the backends for providers share: a provider is another party that runs a model.

Each provider has a library of its own, which makes requests and reads answers event by event. The
parts that are the same for all providers are here: when a request is made again, how an answer is
read, and that leaving an answer's context stops it.

A backend's module adds the two parts that differ, the client and its :class:`Provider`::

    def open_backend(settings):
        return open_provider(_client, OpenAIProvider, settings)
"""

import random
from collections import deque
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self, TypeGuard, TypeVar, cast

import anyio
from structlog.stdlib import get_logger

from relay_common.shared_text import without_prompt
from relay_model.backends.protocol import ModelInfo
from relay_model.backends.providers.failures import ProviderError, cut_short, malformed_response
from relay_model.backends.providers.generators import StartedGenerators, tracked_generators
from relay_model.backends.providers.surrogates import PieceJoiner
from relay_model.backends.support import Support
from relay_model.outcome import UNKNOWN, Outcome, Usage

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from contextlib import AbstractAsyncContextManager

    from relay_model.backends.settings import BackendSettings
    from relay_model.conversation import Conversation
    from relay_model.pieces import Piece

__all__ = ["Provider", "ProviderBackend", "Reading", "counted", "mapping", "open_provider"]

ClientT = TypeVar("ClientT")

EventT = TypeVar("EventT")
EventT_contra = TypeVar("EventT_contra", contravariant=True)

# Seconds. A prompt that waits for its retry occupies a place that another prompt could have. Beyond
# this delay the caller learns more from a failure that names the delay.
_LONGEST_WAIT = 10.0

# Seconds, used where the provider names no delay. Each wait is twice as long as the last one, less
# a random part of up to a half, so that prompts that failed together are not retried together.
_FIRST_WAIT = 0.5

# Seconds to wait for the end of the response after a complete answer; only then can the connection
# be reused. Text that comes instead belongs to the answer, and starts the wait again.
_TRAILER_SECONDS = 1.0

# The contract counts tokens in a uint32.
_LARGEST_COUNT = 2**32 - 1

_log = get_logger(__name__)


class Reading(Protocol[EventT_contra]):
    """One answer, as far as its events have been read."""

    @property
    def outcome(self) -> Outcome:
        """How the answer ended; valid once the answer is complete."""
        ...

    @property
    def may_end(self) -> bool:
        """Whether the answer is complete if the response ends here."""
        ...

    @property
    def is_complete(self) -> bool:
        """Whether the provider has said that the answer is complete."""
        ...

    def read(self, event: EventT_contra) -> "Sequence[Piece]":
        """Read an event and return its pieces; those without text are dropped.

        Raises:
            ProviderError: the event says that the answer failed.
            Exception: the event is not in the provider's format.

        """
        ...


class Provider(Protocol[EventT]):
    """Makes requests through the library of one provider."""

    model: str
    """The model's name."""
    support: Support
    """What the provider can be asked for."""

    def request(
        self, conversation: "Conversation"
    ) -> "AbstractAsyncContextManager[AsyncIterator[EventT]]":
        """Ask for an answer and give its events; leaving the context closes the response.

        Raises:
            Exception: an exception of the library, for :meth:`failure` to explain.

        """
        ...

    def reading(self) -> Reading[EventT]:
        """Begin to read an answer."""
        ...

    def failure(self, error: Exception) -> ProviderError | None:
        """Say what an exception of the library means; None if the provider did not cause it."""
        ...


class ProviderBackend(Generic[EventT]):
    """Answers each conversation by itself, through a provider."""

    def __init__(self, provider: Provider[EventT], *, retries: int) -> None:
        """Ask a provider, and retry up to ``retries`` times where the provider allows it."""
        self.models = (ModelInfo(provider.model, provider.support.backend),)
        self._provider = provider
        self._retries = retries

    @asynccontextmanager
    async def stream(self, conversation: "Conversation") -> "AsyncGenerator[_Answer[EventT]]":
        """Answer one conversation; entering waits for the first piece.

        Leaving the context closes the connection to the provider at once, also when it is left
        because of a cancellation. A connection whose answer was read to its end is kept instead.

        Raises:
            BackendError: the provider failed; from entering or from the iterator.

        """
        self._provider.support.check(conversation)
        async with AsyncExitStack() as context:
            yield await self._begin(conversation, context)

    async def _begin(
        self, conversation: "Conversation", context: AsyncExitStack
    ) -> "_Answer[EventT]":
        """Make requests until one of them gives a first token."""
        for attempt in range(self._retries):
            try:
                return await self._attempt(conversation, context)
            except ProviderError as error:
                delay = _delay(error, attempt)
                if delay is None:
                    raise
                reason = without_prompt(error.detail or error.message, conversation)
                _log.info("asking again", seconds=round(delay, 3), error=reason)
            await anyio.sleep(delay)
        return await self._attempt(conversation, context)

    async def _attempt(
        self, conversation: "Conversation", context: AsyncExitStack
    ) -> "_Answer[EventT]":
        async with AsyncExitStack() as attempt:
            answer = _Answer(await self._request(conversation, attempt), self._provider)
            attempt.push_async_callback(answer.generators.aclose)
            await answer.begin()
            context.push_async_exit(attempt.pop_all())
            return answer

    async def _request(
        self, conversation: "Conversation", attempt: AsyncExitStack
    ) -> "AsyncIterator[EventT]":
        try:
            return await attempt.enter_async_context(self._provider.request(conversation))
        except Exception as error:
            failure = self._provider.failure(error)
            if failure is None:
                raise
            raise failure from error


@asynccontextmanager
async def open_provider(
    client_for: "Callable[[BackendSettings], AbstractAsyncContextManager[ClientT]]",
    provider_for: "Callable[[ClientT, BackendSettings], Provider[EventT]]",
    settings: "BackendSettings",
) -> "AsyncGenerator[ProviderBackend[EventT]]":
    """Open a library's client and give a backend that uses it; close its connections at the end.

    Args:
        client_for: makes the client; may raise StartupError, for example without a key.
        provider_for: makes the provider from the client; may raise StartupError as well.
        settings: what the service was told.

    Raises:
        StartupError: something that the provider needs is missing.

    """
    async with client_for(settings) as client:
        provider = provider_for(client, settings)
        with tracked_generators():
            yield ProviderBackend(provider, retries=settings.retries)


def _delay(error: ProviderError, attempt: int) -> float | None:
    """Return the seconds to wait before a retry; None when there must be no retry."""
    if error.may_retry_at_once:
        return 0.0
    if not error.may_retry:
        return None
    delay = error.retry_after
    if delay is None:
        delay = _FIRST_WAIT * 2**attempt * random.uniform(0.5, 1)  # noqa: S311 - spreads retries, guards nothing
    is_in_time = anyio.current_time() + delay < anyio.current_effective_deadline()
    return delay if is_in_time and delay <= _LONGEST_WAIT else None


class _Answer(Generic[EventT]):
    """One answer, in the pieces in which the provider sends it."""

    def __init__(self, events: "AsyncIterator[EventT]", provider: Provider[EventT]) -> None:
        self._events = events
        self.generators = StartedGenerators()
        self._provider = provider
        self._reading = provider.reading()
        self._joiner = PieceJoiner()
        #: Those of one event, and those that are left at the end.
        self._pieces: deque[Piece] = deque()
        self._has_ended = False

    @property
    def outcome(self) -> Outcome:
        return self._reading.outcome if self._has_ended else UNKNOWN

    async def begin(self) -> None:
        """Wait for the first piece, or for the end of an answer without one."""
        while not self._pieces and not self._has_ended:
            await self._read_on()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> "Piece":
        await self.begin()
        if not self._pieces:
            raise StopAsyncIteration
        return self._pieces.popleft()

    async def _read_on(self) -> None:
        if self._reading.is_complete:
            await self._read_trailer()
            if not self._pieces:
                self._end()
        elif (event := await self._event()) is not None:
            self._read(event)
        elif self._reading.may_end:
            self._end()
        else:
            raise cut_short()

    def _end(self) -> None:
        self._has_ended = True
        self._pieces.extend(self._joiner.end())

    async def _event(self) -> EventT | None:
        """Wait for the next event; None at the end of the response."""
        try:
            with self.generators:
                return await anext(self._events, None)
        except ProviderError:
            raise
        except Exception as error:
            raise self._provider.failure(error) or malformed_response(error) from error

    def _read(self, event: EventT) -> None:
        try:
            # The libraries build events from whatever the provider sent.
            self._pieces.extend(self._joiner.join(self._reading.read(event)))
        except ProviderError:
            raise
        except Exception as error:
            raise malformed_response(error) from error

    async def _read_trailer(self) -> None:
        """Read to the end of the response, or to a piece if the provider goes on after all."""
        # The answer is complete, so nothing that happens here can make it fail.
        with anyio.move_on_after(_TRAILER_SECONDS), suppress(Exception):  # noqa: ASYNC912 - a piece may be there
            while not self._pieces and (event := await self._event()) is not None:
                self._read(event)


def counted(
    prompt_tokens: object,
    completion_tokens: object,
    *,
    cached: object = None,
    reasoning: object = None,
) -> Usage | None:
    """Return what a provider counted; None unless both totals are valid."""
    if _is_count(prompt_tokens) and _is_count(completion_tokens):
        return Usage(
            prompt_tokens,
            completion_tokens,
            cached if _is_count(cached) else None,
            reasoning if _is_count(reasoning) else None,
        )
    return None


def mapping(value: object) -> dict[str, Any]:
    """Return a JSON object as it is, and an empty one for all else.

    It is for what goes with the text of an answer, such as usage. The text counts although a
    provider writes something else there, as its own library takes it too.
    """
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= _LARGEST_COUNT
