"""Receive windows of HTTP/2 flow control (RFC 9113 § 5.2), as arithmetic alone.

Two kinds of window count the same DATA bytes, and they are opened again at different times:

- The **stream's** is opened when a message is *consumed*. A call that does not read stops its own
  sender and nobody else's.
- The **connection's** is opened on *receipt*. The stream windows bound what is unread already. If
  it were charged to the connection as well, a few calls that do not read would stop every other
  call, and a call that is cancelled with unread bytes would have to give them back.

For example, a window of 100 bytes of which two messages have been consumed::

    window = ReceiveWindow(100)
    window.credit(30)    # 0: not worth a frame yet
    window.credit(30)    # 60: send WINDOW_UPDATE(60)

This module does no IO and knows no event loop.
"""


class ReceiveWindow:
    """Decides when the peer is told that it may send more.

    Credit is collected until it is worth a WINDOW_UPDATE frame: half of the window. The other
    half is then still open, so a sender that is not held up by its reader never waits for us.
    """

    __slots__ = ("_owed", "_threshold")

    def __init__(self, size: int) -> None:
        """Start with a full window of ``size`` bytes, as announced to the peer."""
        self._owed = 0
        self._threshold = (size + 1) // 2

    def credit(self, size: int) -> int:
        """Count ``size`` bytes (0 or more) that no longer occupy the window.

        Returns:
            The increment to send in a WINDOW_UPDATE now, or 0 for none.

        """
        self._owed += size
        if self._owed < self._threshold:
            return 0
        increment, self._owed = self._owed, 0
        return increment

    @property
    def owed(self) -> int:
        """Bytes that are free here and that the peer has not been told of yet."""
        return self._owed
