"""Trio's memory channels, as far as the product opens them."""

from importlib import import_module
from inspect import currentframe
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

__all__ = ["leaks"]

_PRODUCT = ("grpclib_anyio.", "relay_gateway.", "relay_model.", "relay_common.")
_TRIO = "trio."

#: What the ends of a channel share; with trio's own counts of them.
_states: list[Any] = []


def _watch() -> None:
    state: Any = import_module("trio._channel").MemoryChannelState
    init = state.__init__

    def noted_init(self: Any, *args: Any, **options: Any) -> None:
        init(self, *args, **options)
        if _opener().startswith(_PRODUCT):
            _states.append(self)

    state.__init__ = noted_init


def _opener() -> str:
    """Name the module that has called trio."""
    frame: FrameType | None = currentframe()
    name = __name__
    while frame is not None and name.startswith((_TRIO, __name__, "typing")):
        name, frame = frame.f_globals.get("__name__", ""), frame.f_back
    return name


def leaks() -> list[str]:
    """Say of which channels an end is open, or a task waits at one; forget all."""
    statistics = [state.statistics() for state in _states]
    _states.clear()
    return [
        f"memory channel: {found}"
        for found in statistics
        if found.open_send_channels
        or found.open_receive_channels
        or found.tasks_waiting_send
        or found.tasks_waiting_receive
    ]


_watch()
