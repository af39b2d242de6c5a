"""What one peer may do that costs us work and moves no call forward.

Each kind of frame has a rate that no honest peer keeps up, see ``Configuration``. For example, of a
peer that sends PRIORITY frames::

    budgets = Budgets(config, clock=trio.current_time, on_flood=print)
    budgets.frame_ignored(event, resets_sent=0)       # 1,000 times: nothing
    budgets.frame_ignored(event, resets_sent=0)       # b'too_many_empty_frames'

The gateway's HTTP/2 has the same budgets. This module does no IO and knows no event loop.
"""

from collections.abc import Callable

from hyperframe.frame import RstStreamFrame

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import Credit, EarnedBucket, LeakyBucket
from grpclib_anyio._connection.http2 import FrameIgnored

__all__ = ["TOO_MANY_PINGS", "Budgets"]

TOO_MANY_PINGS = b"too_many_pings"
#: WINDOW_UPDATE frames for each frame that we have sent, as Envoy's default.
_UPDATES_PER_FRAME = 10
#: Frames that may cross each reset of ours: headers, an end, trailers, and a reset.
_LATE_PER_RESET = 4


class Budgets:
    """Counts the frames of one connection."""

    def __init__(
        self,
        config: Configuration,
        *,
        clock: Callable[[], float],
        on_flood: Callable[[bytes], None],
    ) -> None:
        """Call ``on_flood`` with what there is too much of: the detail of the GOAWAY to send.

        ``clock`` says when the bytes came that are being handled, in seconds.
        """
        self._clock = clock
        self._on_flood = on_flood
        self._resets = LeakyBucket(b"too_many_resets", config.max_resets)
        self._pings = LeakyBucket(TOO_MANY_PINGS, config.max_pings)
        self._settings = LeakyBucket(b"too_many_settings", config.max_settings)
        self._empty_frames = LeakyBucket(b"too_many_empty_frames", config.max_empty_frames)
        #: For frames that may have crossed a reset of ours.
        self._crossing = Credit(_LATE_PER_RESET)
        self._window_updates = EarnedBucket(
            b"too_many_window_updates", config.max_window_updates, _UPDATES_PER_FRAME
        )

    def call_made_in_vain(self) -> None:
        """Count a call that was refused, malformed, or reset before its handler had begun."""
        self._spend(self._resets)

    def pinged(self) -> None:
        """Count a PING, or the answer to one."""
        self._spend(self._pings)

    def settings_received(self) -> None:
        """Count a SETTINGS, or the acknowledgement of one."""
        self._spend(self._settings)

    def little_received(self) -> None:
        """Count a frame that changes nothing, or brings a message hardly any further."""
        self._spend(self._empty_frames)

    def window_updated(self, *, frames_sent: int) -> None:
        """Count a WINDOW_UPDATE; each frame that we have sent pays for ten of them."""
        if not self._window_updates.allow_for(frames_sent, self._clock()):
            self._on_flood(self._window_updates.name)

    def frame_ignored(self, event: FrameIgnored, *, resets_sent: int) -> None:
        """Count a frame that comes too late, which happens, or has no meaning.

        Each reset that we have sent pays for four frames that may have crossed it.
        """
        if event.is_late and self._crossing.pays(resets_sent):
            return
        is_reset = isinstance(event.frame, RstStreamFrame)
        self._spend(self._resets if is_reset else self._empty_frames)

    def _spend(self, bucket: LeakyBucket) -> None:
        if not bucket.allow(self._clock()):
            self._on_flood(bucket.name)
