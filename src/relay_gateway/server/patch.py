"""What is replaced in hypercorn, in one table, and the only place that replaces it.

Each row of :data:`REPLACEMENTS` has a name, what replaces it, why, the page about it for upstream,
and the test that says when it can go. The rest of ``server`` are the classes themselves. For
example, hypercorn's worker makes a ``TCPServer`` for each connection and looks that name up in its
module: after :func:`install`, it finds ``BoundedTCPServer`` there.

hypercorn's command line loads the application before it looks up its worker, so installing while
the application is built is early enough under plain ``hypercorn`` too.
"""

from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from typing import Any

from relay_gateway.server.accept import SeveralListenersTrio
from relay_gateway.server.http2 import BoundedStreamBuffer, ContainedH2Protocol
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext, serve_on_command_line

__all__ = ["REPLACEMENTS", "Replacement", "install"]

#: The versions of hypercorn that were read when these replacements were written.
_KNOWN_VERSIONS = ("0.18.",)


@dataclass(frozen=True)
class Replacement:
    """One name of hypercorn's that stands for something else from :func:`install` on."""

    module: str
    name: str
    by: Any
    why: str
    #: A page of ours that can be filed as it is, or hypercorn's issue.
    upstream: str
    #: The test that fails once hypercorn no longer needs this.
    canary: str


REPLACEMENTS = (
    Replacement(
        "hypercorn.trio.run",
        "TCPServer",
        BoundedTCPServer,
        "writes under an unbounded shield; an error of one connection ends all; an idle connection"
        " that had a request is never closed",
        "docs/upstream/hypercorn_write_shield.md",
        "tests/gateway/test_tcp.py::test_upstream_still_holds_up_its_shutdown",
    ),
    Replacement(
        "hypercorn.trio.run",
        "WorkerContext",
        DrainingContext,
        "after max_requests a worker cuts its answers off; here it drains first",
        "none found: a choice of ours",
        "tests/gateway/test_tcp.py::test_upstream_still_cuts_off_what_is_left_after_max_requests",
    ),
    Replacement(
        "hypercorn.trio.run",
        "worker_serve",
        serve_on_command_line,
        "the application hears of a stop last, after its answers have been cut off",
        "none found: a choice of ours",
        "tests/gateway/test_tcp.py::test_upstream_still_tells_the_application_last",
    ),
    Replacement(
        "hypercorn.trio.run",
        "trio",
        SeveralListenersTrio(),
        "of a burst of browsers, each is accepted only after all that runs has had a turn",
        "none found: a question of speed",
        "tests/gateway/test_accept.py::test_trio_still_lets_everything_run_between_two",
    ),
    Replacement(
        "hypercorn.protocol",
        "H2Protocol",
        ContainedH2Protocol,
        "keep_alive_max_requests cuts the open streams off; a stream that is over ends the others;"
        " a request is run although it has been reset; no flood has an end; what is wrong with one"
        " stream ends the connection; the buffers of streams that were reset stay;"
        " a stream's buffer wakes a paused sender although nothing was taken, so that it grows"
        " without a bound (docs/upstream/hypercorn_stream_buffer.md)",
        "docs/upstream/hypercorn_max_requests.md",
        "tests/gateway/test_tcp.py::test_upstream_still_cuts_streams_off_after_many_requests",
    ),
)


def install(*, write_timeout: float) -> None:
    """Make all replacements in this process; doing it again changes the timeout only.

    Args:
        write_timeout: seconds that a client may take to read what is written to it.

    Raises:
        RuntimeError: this version of hypercorn has not been looked at.

    """
    installed = version("hypercorn")
    if not installed.startswith(_KNOWN_VERSIONS):
        known = ", ".join(f"{prefix}*" for prefix in _KNOWN_VERSIONS)
        raise RuntimeError(
            f"hypercorn {installed} is not known to relay_gateway.server, only {known}:"
            f" install one of these"
        )
    BoundedTCPServer.write_timeout = BoundedStreamBuffer.write_timeout = write_timeout
    for each in REPLACEMENTS:
        setattr(import_module(each.module), each.name, each.by)
