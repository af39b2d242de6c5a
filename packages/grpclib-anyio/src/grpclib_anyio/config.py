"""What can be set on a channel or a server.

For example, a client that waits for its server and pings it after ten silent seconds::

    Channel(config=Configuration(wait_for_ready=True, keepalive_time=10.0))
"""

from grpclib_anyio._base.config import Configuration
from grpclib_anyio._base.rate_limit import Rate

__all__ = ["Configuration", "Rate"]
