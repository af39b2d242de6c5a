"""What a request's one log line says: how much came, how soon and how fast."""

from typing import TYPE_CHECKING, Any

import anyio

if TYPE_CHECKING:
    from structlog.stdlib import BoundLogger

__all__ = ["Measure"]

_MILLISECONDS = 3
_TENTHS = 1


class Measure:
    """The tokens of one answer, counted and timed on the event loop's clock."""

    def __init__(self) -> None:
        """Start the clock; needs a running event loop."""
        self._tokens = 0
        self._started = anyio.current_time()
        self._first = self._last = self._started
        self._notes: dict[str, Any] = {}

    def count(self) -> None:
        """Take note of one more token."""
        self._last = anyio.current_time()
        if self._tokens == 0:
            self._first = self._last
        self._tokens += 1

    def note(self, **notes: Any) -> None:  # noqa: ANN401 - whatever a log line may hold
        """Have something more in the log line."""
        self._notes.update(notes)

    def log(self, logger: "BoundLogger", *, cause: str, session_id: str) -> None:
        """Write the line: a warning when the model failed.

        Times are seconds; what was not there to be measured is left out. The prompt and the
        answer are nobody's business.
        """
        write = logger.warning if cause == "model_error" else logger.info
        write(
            "request ended",
            cause=cause,
            session_id=session_id,
            tokens=self._tokens,
            seconds=round(anyio.current_time() - self._started, _MILLISECONDS),
            **self._times(),
            **self._notes,
        )

    def _times(self) -> dict[str, float]:
        times: dict[str, float] = {}
        if self._tokens:
            times["first_token_seconds"] = round(self._first - self._started, _MILLISECONDS)
        if self._last > self._first:
            # The first token's time is the prompt's; the rate is that of the others.
            rate = (self._tokens - 1) / (self._last - self._first)
            times["tokens_per_second"] = round(rate, _TENTHS)
        return times
