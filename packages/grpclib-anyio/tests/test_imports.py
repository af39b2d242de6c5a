"""Which part of the package may import which: one way, and a list of nevers."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import grpclib_anyio

PACKAGE = Path(grpclib_anyio.__file__).parent
PROJECT = Path(__file__).parents[1] / "pyproject.toml"
MODULES = sorted(str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py"))

#: Folders in the order of the wire; those of a level know nothing of each other. A module of the
#: package itself is public, and may use all of them.
LEVELS = (
    {"_base"},
    {"_fast", "_stream"},
    {"_connection"},
    {"_channel"},
    {"_call"},
    {"betterproto"},
)
#: Modules that know an event loop; everything else runs on any.
LOOPS = {
    "_base/cancelled.py": {"asyncio", "trio"},
    "_base/trio_io.py": {"asyncio", "trio"},
    "_fast/trio_stream.py": {"trio"},
}


def imported(module: str) -> set[str]:
    """Return the full names of the modules that a module imports."""
    tree = ast.parse((PACKAGE / module).read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative name"
            names.add(str(node.module))
    return names


def folder(name: str) -> str:
    """Return the folder of a module of the package, by its full name; "" for a public one."""
    parts = name.split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


@pytest.mark.parametrize("module", MODULES)
def test_folders_are_imported_one_way(module: str) -> None:
    levels = {name: number for number, level in enumerate(LEVELS) for name in level}
    own = Path(module).parts[0] if "/" in module else ""
    for name in imported(module):
        if name.split(".")[0] != "grpclib_anyio":
            continue
        other = folder(name)
        before = levels.get(other, len(LEVELS)) < levels.get(own, len(LEVELS))
        assert other == own or before, f"{module} imports {name}"


def test_every_folder_has_its_level() -> None:
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").exists()}
    assert folders == set().union(*LEVELS)


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_an_event_loop(module: str) -> None:
    loops = {name.split(".")[0] for name in imported(module)} & {"asyncio", "trio"}
    assert loops == LOOPS.get(module, set[str]())


def test_flow_control_imports_nothing_at_all() -> None:
    assert imported("_stream/flow_control.py") == set()


@pytest.mark.parametrize("module", MODULES)
def test_only_the_folder_for_betterproto_imports_it(module: str) -> None:
    libraries = {"betterproto", "betterproto2"}
    uses = any(name.split(".")[0] in libraries for name in imported(module))
    assert not uses or module.startswith("betterproto/") or module == "health.py"


def test_everything_that_is_imported_is_declared() -> None:
    """As a dependency, or for those who install betterproto's extra."""
    project = tomllib.loads(PROJECT.read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"], *project["optional-dependencies"]["betterproto"]]
    declared = {re.split(r"[^\w-]", requirement)[0] for requirement in needed}
    used = {name.split(".")[0] for module in MODULES for name in imported(module)}
    assert used - sys.stdlib_module_names - {PACKAGE.name} == declared


def run(code: str) -> None:
    """Run a program in a Python of its own; what it prints is an error."""
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=30)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_importing_it_leaves_betterproto_alone() -> None:
    run(
        "import sys, grpclib_anyio, grpclib_anyio.client, grpclib_anyio.server\n"
        "import grpclib_anyio.testing, grpclib_anyio.betterproto\n"
        "assert not {'betterproto', 'betterproto2'} & set(sys.modules)"
    )


def test_nothing_of_the_relay_is_needed() -> None:
    run(
        "import sys, grpclib_anyio.client, grpclib_anyio.health, grpclib_anyio.testing\n"
        "never = {'quart', 'hypercorn', 'pydantic', 'structlog', 'relay_common'}\n"
        "assert not never & set(sys.modules)"
    )
