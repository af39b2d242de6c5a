"""Where a stream is in its life (RFC 9113 § 5.1), as the call on this side sees it.

Theory of operation. A stream is two half-streams, one in each direction. A side *ends* its half
with END_STREAM, and either side can *reset* both halves with RST_STREAM::

                            end_local
                   OPEN ───────────────▶ HALF_CLOSED_LOCAL
                    │                           │
         end_remote │                           │ end_remote
                    ▼                           ▼
           HALF_CLOSED_REMOTE ─────────────▶ CLOSED
                            end_local
                                                        reset
           each of the states above, but for CLOSED ───────────▶ RESET

The RFC has one closed state. Here there are two, because a call treats them differently: after
CLOSED it has a complete answer, after RESET it may have to fail. A reset does not undo what came
before it. For example, a server may answer early and then send RST_STREAM(NO_ERROR): the client's
call is reset, and its answer is complete all the same (§ 8.1)::

    state = StreamState()
    state.end_remote()   # False: our half is still open
    state.reset()        # True: the stream is closed now
    state.reset()        # False: it was closed before
    state.remote_ended   # True: the whole answer came before the reset

A stream counts against the peer's limit of concurrent streams until it is closed (§ 5.1.2). Each
transition therefore returns whether it was the one that closed the stream, and each stream is
closed by exactly one.

Only this module changes a state; everybody may read it. It does no IO and knows no event loop.
"""

__all__ = ["StreamState"]


class StreamState:
    """The state of one stream; it starts open.

    A transition of a closed stream changes nothing and returns False.
    """

    __slots__ = ("headers_sent", "is_reset", "local_ended", "remote_ended")

    def __init__(self) -> None:
        self.local_ended = False
        self.remote_ended = False
        self.is_reset = False
        #: Our first HEADERS have been sent. The RFC's state of a server's stream does not change
        #: with them; what a reset means does, see ``Configuration.max_resets``.
        self.headers_sent = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing more may be sent or received."""
        return self.is_reset or (self.local_ended and self.remote_ended)

    @property
    def may_send(self) -> bool:
        """Whether HEADERS and DATA may be sent."""
        return not (self.is_reset or self.local_ended)

    @property
    def is_complete(self) -> bool:
        """Whether both sides have ended the stream, so that nothing can fail it any more."""
        return self.local_ended and self.remote_ended

    def send_headers(self) -> None:
        """Note that our HEADERS have been sent."""
        self.headers_sent = True

    def end_local(self) -> bool:
        """End our half: END_STREAM has been sent."""
        if not self.may_send:
            return False
        self.local_ended = True
        return self.remote_ended

    def end_remote(self) -> bool:
        """End the peer's half: END_STREAM has arrived."""
        if self.is_reset or self.remote_ended:
            return False
        self.remote_ended = True
        return self.local_ended

    def reset(self) -> bool:
        """Cut both halves: RST_STREAM has been sent or has arrived."""
        if self.is_closed:
            return False
        self.is_reset = True
        return True

    def __repr__(self) -> str:
        """Give the RFC's name of the state, or ``reset``."""
        if self.is_reset:
            return "<reset>"
        if self.is_complete:
            return "<closed>"
        if self.local_ended or self.remote_ended:
            return f"<half-closed ({'local' if self.local_ended else 'remote'})>"
        return "<open>"
