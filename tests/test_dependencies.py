"""Each distribution declares what its code imports, and nothing else.

A module of the relay that imports ``multidict`` works as long as grpclib brings it, which can end
with the next version of grpclib. So the relay declares it, or does not import it.
"""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent

#: A line of requirements begins with the name of a distribution.
_NAME = re.compile(r"[\w.-]+")

#: Imported from the other distribution of this repository, which may lie on the path uninstalled.
OURS = {"grpclib_anyio": "grpclib-anyio"}


@dataclass(frozen=True)
class Distribution:
    """One of the two, and where each of its extras is used."""

    path: str
    #: The only places that may import what only this extra brings, from the distribution's `src`.
    extras: Mapping[str, tuple[str, ...]]

    @property
    def project(self) -> Mapping[str, Any]:
        text = (ROOT / self.path / "pyproject.toml").read_text(encoding="utf-8")
        project: Mapping[str, Any] = tomllib.loads(text)["project"]
        return project

    @property
    def required(self) -> set[str]:
        return set(map(_normal, self.project["dependencies"]))

    def of_extra(self, extra: str) -> set[str]:
        return set(map(_normal, self.project["optional-dependencies"][extra]))

    def imports(self) -> Iterator[tuple[str, str]]:
        """Give the file, from `src`, and the distribution of each import from elsewhere."""
        source = ROOT / self.path / "src"
        own = {path.name for path in source.iterdir()} | sys.stdlib_module_names
        for file in sorted(source.rglob("*.py")):
            for module in _imported(file):
                if module.partition(".")[0] not in own:
                    yield str(file.relative_to(source)), _owner(module)


_PROVIDERS = "relay_model/backends/providers"

TRANSPORT = Distribution(
    "packages/grpclib-anyio",
    {
        "betterproto": ("grpclib_anyio/betterproto/", "grpclib_anyio/health.py"),
        "betterproto2": ("grpclib_anyio/betterproto/",),
    },
)
RELAY = Distribution(
    ".",
    {
        "local": ("relay_model/backends/local/",),
        "anthropic": (f"{_PROVIDERS}/anthropic.py",),
        "openai": (f"{_PROVIDERS}/openai.py",),
        "ollama": (f"{_PROVIDERS}/ollama.py",),
    },
)
BOTH = pytest.mark.parametrize("distribution", [TRANSPORT, RELAY], ids=["transport", "relay"])


def _normal(requirement: str) -> str:
    """Return the name that a requirement begins with, as indexes spell it."""
    match = _NAME.match(requirement)
    assert match, requirement
    return re.sub(r"[-_.]+", "-", match[0]).lower()


def _imported(file: Path) -> Iterator[str]:
    """Give the full names that a file imports, at its top, in functions, or for types only."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        match node:
            case ast.Import():
                yield from (alias.name for alias in node.names)
            case ast.ImportFrom(module=str(module)):
                # What is imported from a namespace package is a module of its own.
                yield from (f"{module}.{alias.name}" for alias in node.names)
            case ast.Call(
                func=ast.Name("import_extra" | "import_module" | "Library"),
                args=[ast.Constant(str(name)), *_],
            ):
                yield name
            case _:
                pass


def _owner(name: str) -> str:
    """Name the distribution that brings a module, or the module that has a name in it."""
    known = _modules()
    while name and name not in known:
        name = name.rpartition(".")[0]
    assert name, "imported, and not installed here"
    return known[name]


@cache
def _modules() -> Mapping[str, str]:
    """Map each module that is installed, by its full name, to its distribution.

    `importlib.metadata.packages_distributions` knows top levels only, of which many share `google`.
    """
    owners: dict[str, str] = {}
    for distribution in distributions():
        owner = _normal(distribution.name)
        # `files` makes a path of each line, of which there are ten thousands.
        for line in (distribution.read_text("RECORD") or "").splitlines():
            file = line.partition(",")[0]
            if file.endswith((".py", ".so")):
                # A compiled module has a name such as `_core.cpython-311-x86_64-linux-gnu.so`.
                folder, _, name = file.rpartition("/")
                module = f"{folder}/{name.partition('.')[0]}".removesuffix("/__init__")
                owners[module.lstrip("/").replace("/", ".")] = owner
    return owners | OURS


@BOTH
def test_what_is_imported_is_declared_and_nothing_else(distribution: Distribution) -> None:
    declared = distribution.required.union(*map(distribution.of_extra, distribution.extras))
    assert {name for _, name in distribution.imports()} == declared


@BOTH
def test_every_extra_is_used_where_it_belongs(distribution: Distribution) -> None:
    assert set(distribution.extras) == set(distribution.project["optional-dependencies"])
    places: dict[str, set[str]] = {}
    for extra, files in distribution.extras.items():
        for name in distribution.of_extra(extra) - distribution.required:
            places.setdefault(name, set()).update(files)
    elsewhere = [
        f"{file} imports {name}"
        for file, name in distribution.imports()
        if name in places and not file.startswith(tuple(places[name]))
    ]
    assert elsewhere == []
