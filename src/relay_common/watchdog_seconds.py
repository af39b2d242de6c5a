"""How long an event loop may be blocked, as a setting that every program has.

For example ``watchdog_seconds: WatchdogSeconds = 0.25``. It is not in ``watchdog``, because that
needs an event loop's library, which ``--help`` does not.
"""

from typing import Annotated

from pydantic import Field

__all__ = ["WatchdogSeconds"]

WatchdogSeconds = Annotated[
    float,
    Field(
        ge=0,
        allow_inf_nan=False,
        description="seconds for which the event loop may be blocked without a warning that says by"
        " whom; 0 turns it off",
    ),
]
"""Seconds; 0 for no watchdog."""
