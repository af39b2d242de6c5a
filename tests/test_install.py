"""The relay installs with the transport of this repository, and never with one from an index.

Before a release, a stranger can upload a package with the transport's name. So the relay asks for a
version with a local part, ``grpclib-anyio==0.1.0+source``. An index such as PyPI takes no such
version, and ``==`` with a local part matches nothing else (PEP 440). For example, an index offers a
stranger's 0.1.0 and 99.0, and these two commands are run::

    pip install .                             No matching distribution found
    pip install ./packages/grpclib-anyio .    the transport is these files
"""

import base64
import hashlib
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent
TRANSPORT = "./packages/grpclib-anyio"
#: What a stranger may have uploaded.
ON_THE_INDEX = ("0.1.0", "99.0")

#: Every text that says how to install.
TEXTS = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "pyproject.toml",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted(path for path in (ROOT / "examples").rglob("*.*") if path.suffix != ".pyc"),
]
#: An installation of the repository itself: `.` as a word, with extras or without.
_INSTALLS_RELAY = re.compile(r"pip install\b[^#\n]*?\s'?\.(?:\[|'|\s|`|$)", re.MULTILINE)


def project(path: str) -> dict[str, Any]:
    text = (ROOT / path / "pyproject.toml").read_text(encoding="utf-8")
    read: dict[str, Any] = tomllib.loads(text)["project"]
    return read


def wheel(directory: Path, name: str, version: str, requires: Iterable[str] = ()) -> Path:
    """Write a wheel that has nothing in it but its metadata."""
    info = f"{name.replace('-', '_')}-{version}.dist-info"
    metadata = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    metadata += ["Provides-Extra: betterproto"]
    metadata += [f"Requires-Dist: {requirement}" for requirement in requires]
    files = {
        f"{info}/METADATA": "".join(f"{line}\n" for line in metadata),
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [f"{file},sha256={digest(text)},{len(text)}\n" for file, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*record, f"{info}/RECORD,,\n"])
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"{name.replace('-', '_')}-{version}-py3-none-any.whl"
    with ZipFile(path, "w") as archive:
        for file, text in files.items():
            archive.writestr(file, text)
    return path


def digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def index(tmp_path: Path) -> str:
    """Give the URL of an index (PEP 503) with a stranger's packages of the transport's name."""
    page = tmp_path / "index" / "grpclib-anyio"
    wheels = [wheel(page, "grpclib-anyio", version).name for version in ON_THE_INDEX]
    (page / "index.html").write_text("".join(f'<a href="{name}">{name}</a>' for name in wheels))
    return page.parent.as_uri()


@pytest.fixture
def relay(tmp_path: Path) -> Path:
    """Give a wheel that asks for what the relay asks for, of what is ours."""
    ours = [name for name in project(".")["dependencies"] if name.startswith("grpclib-anyio")]
    return wheel(tmp_path / "ours", "token-relay", project(".")["version"], ours)


@pytest.fixture
def transport(tmp_path: Path) -> Path:
    return wheel(tmp_path / "ours", "grpclib-anyio", project(TRANSPORT)["version"])


@pytest.fixture(params=["pip", "uv"])
def installer(request: pytest.FixtureRequest, tmp_path: Path) -> list[str]:
    """Give the command that resolves requirements, for an environment that has nothing yet."""
    if request.param == "uv":
        if (uv := shutil.which("uv")) is None:
            pytest.skip("no uv on the path")
        target = ["--python", sys.executable, "--target", str(tmp_path / "target"), "--no-config"]
        return [uv, "pip", "install", "--dry-run", *target, "--no-cache"]
    if find_spec("pip") is None:
        pytest.skip("no pip in this environment")
    options = ["--dry-run", "--ignore-installed", "--no-cache-dir", "--disable-pip-version-check"]
    return [sys.executable, "-m", "pip", "--isolated", "install", *options]


def resolve(installer: list[str], index: str, *what: str | Path) -> tuple[int, str]:
    """Run an installer with an index and nothing else; give its exit code and all it printed."""
    command = [*installer, "--index-url", index, *map(str, what)]
    done = subprocess.run(
        command,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        env={"PATH": "/usr/bin:/bin", "HOME": "/nonexistent"},
        timeout=30,
    )
    return done.returncode, done.stdout


def test_version_of_the_transport_is_on_no_index_and_the_one_asked_for() -> None:
    version = project(TRANSPORT)["version"]
    assert version.endswith("+source")
    assert f"grpclib-anyio[betterproto]=={version}" in project(".")["dependencies"]


def test_relay_alone_is_refused_in_words(installer: list[str], index: str, relay: Path) -> None:
    code, said = resolve(installer, index, relay)
    assert code == 1
    assert f"=={project(TRANSPORT)['version']}" in said
    assert re.search("No matching distribution found|no version of grpclib-anyio", said)


def test_same_index_serves_those_who_ask_for_any_version(installer: list[str], index: str) -> None:
    """What refuses the stranger's package is its version, not an index that does not work."""
    code, said = resolve(installer, index, "grpclib-anyio")
    assert code == 0, said
    assert re.search(r"grpclib-anyio(-|==)99\.0", said)


def test_both_paths_take_the_transport_of_the_repository(
    installer: list[str], index: str, relay: Path, transport: Path
) -> None:
    code, said = resolve(installer, index, transport, relay)
    assert code == 0, said
    # pip names the version that it would install, uv the URL of its file.
    assert re.search(r"grpclib[-_]anyio-0\.1\.0(\+|%2B)source", said)
    assert not re.search(r"grpclib[-_]anyio(-|==)(99\.0|0\.1\.0\b(?!\+|%2B))", said)


@pytest.mark.parametrize("text", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_texts_install_both_paths(text: Path) -> None:
    commands = [
        line
        for line in text.read_text(encoding="utf-8").splitlines()
        if _INSTALLS_RELAY.search(line)
    ]
    assert [line for line in commands if TRANSPORT not in line] == []
