"""``relay-model`` without a command: the service, until a signal.

SIGINT ends the service at once: answers stop within a token, and callers get UNAVAILABLE. SIGTERM
refuses new prompts and lets answers end for ``--drain-seconds``; a second signal ends it at once.

The exit code is 130 after SIGINT and 0 after SIGTERM. It is 2 when a setting or the model is wrong,
and 1 when the address cannot be listened on; both after one line on stderr, for example
``relay-model: error: cannot listen on 127.0.0.1:50051: address already in use``.
"""

from functools import partial
from typing import TYPE_CHECKING

import anyio

from relay_common.gc_tuning import tune_gc
from relay_common.running import run
from relay_model.serving import serve

if TYPE_CHECKING:
    from relay_model.settings import ModelSettings

__all__ = ["main"]


def main(settings: "ModelSettings") -> int:
    """Serve until a signal, and return the exit code.

    Raises:
        StartupError: the service cannot start.

    """
    tune_gc()
    drain = anyio.Event()
    return run(partial(serve, settings, drain=drain), on_terminate=drain.set)
