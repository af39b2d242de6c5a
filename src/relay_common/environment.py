"""Variables of the environment that look like settings and are none, or say nothing.

For example, with ``RELAY_DEADLIN_SECONDS=5`` and ``RELAY_HOST=``::

    RELAY_DEADLIN_SECONDS is no setting: did you mean RELAY_DEADLINE_SECONDS?
    RELAY_HOST is empty, and counts as not set

They are warnings, because Kubernetes sets variables of such names for a service called ``relay``.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches

__all__ = ["odd_variables"]

#: Prefixes of one program's variables; the gateway's is where the others begin.
_PREFIXES = ("RELAY_DEMO_", "RELAY_MODEL_", "RELAY_")
#: The gateway's, though it begins as the model's do.
_OF_THE_GATEWAY = "RELAY_MODEL_TARGET"
#: Read by every program.
_SHARED_PREFIX = "RELAY_LOG_"
_SHARED = ("RELAY_LOG_FORMAT", "RELAY_LOG_LEVEL")
#: What Kubernetes and Docker set for a service of the name.
_OF_A_PLATFORM = re.compile(r".*_(SERVICE_(HOST|PORT)(_.*)?|PORT(_\d+_(TCP|UDP).*)?|NAME|ENV_.*)")


def odd_variables(
    environment: Mapping[str, str],
    fields: Iterable[str],
    prefix: str,
    *,
    with_shared: bool = False,
) -> Iterator[str]:
    """Say what is odd about the variables of one program.

    Args:
        environment: the variables, such as ``os.environ``.
        fields: the names of the program's settings.
        prefix: what its variables begin with, for example ``RELAY_``.
        with_shared: look at the variables that all programs read, too.

    """
    known = [f"{prefix}{field.upper()}" for field in fields]
    own = {name for name in environment if _prefix_of(name) == prefix}
    if with_shared:
        known += [name for name in _SHARED if name not in known]
        own |= {name for name in environment if name.startswith(_SHARED_PREFIX)}
    for name in sorted(own):
        if name in known:
            if not environment[name]:
                yield f"{name} is empty, and counts as not set"
        elif not _OF_A_PLATFORM.fullmatch(name):
            near = get_close_matches(name, known, n=1)
            yield f"{name} is no setting" + (f": did you mean {near[0]}?" if near else "")


def _prefix_of(name: str) -> str | None:
    if name == _OF_THE_GATEWAY:
        return "RELAY_"
    return next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
