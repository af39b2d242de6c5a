"""What is replaced in hypercorn, in one table."""

from importlib.metadata import version

import hypercorn.protocol
import hypercorn.protocol.h2
import hypercorn.trio.run
import hypercorn.trio.tcp_server

from relay_gateway.server.accept import listen_for_several
from relay_gateway.server.http2 import BoundedStreamBuffer, ContainedH2Protocol
from relay_gateway.server.requests import RequestTasks
from relay_gateway.server.tcp import BoundedTCPServer
from relay_gateway.server.worker import DrainingContext, serve_on_command_line

__all__ = ["install"]

_KNOWN_VERSIONS = ("0.18.",)


def install(*, write_timeout: float) -> None:
    """Use the bounded classes in this process from now on; ``write_timeout`` is in seconds.

    Raises:
        RuntimeError: this version of hypercorn has not been looked at.

    """
    installed = version("hypercorn")
    if not installed.startswith(_KNOWN_VERSIONS):
        known = ", ".join(f"{prefix}*" for prefix in _KNOWN_VERSIONS)
        text = f"hypercorn {installed} is not known to relay_gateway.server.tcp, only {known}"
        raise RuntimeError(text)
    BoundedTCPServer.write_timeout = BoundedStreamBuffer.write_timeout = write_timeout
    # By name, where hypercorn looks them up when it makes one.
    hypercorn.trio.run.__dict__["TCPServer"] = BoundedTCPServer
    hypercorn.trio.tcp_server.__dict__["TaskGroup"] = RequestTasks
    hypercorn.trio.run.__dict__["WorkerContext"] = DrainingContext
    hypercorn.trio.run.__dict__["worker_serve"] = serve_on_command_line
    listen_for_several()
    hypercorn.protocol.__dict__["H2Protocol"] = ContainedH2Protocol
    hypercorn.protocol.h2.__dict__["StreamBuffer"] = BoundedStreamBuffer
