"""Which part of the relay may import which: one way, and a list of nevers. No import does anything.

What is only for type checkers counts too: `if TYPE_CHECKING` hides a circle, it does not open it.
"""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"

PACKAGES = ("relay_common", "relay_demo", "relay_gateway", "relay_model")

#: The parts of a package, from the bottom. Parts of one level know nothing of each other. A part is
#: a module, or a folder whose modules may import each other.
LEVELS = {
    "relay_common": (
        {
            "background",
            "environment",
            "errors",
            "gc_tuning",
            "redact",
            "shared_text",
            "target",
            "trace",
            "watchdog",
            "watchdog_seconds",
        },
        {"log", "log_metrics", "running"},
        {"cli"},
    ),
    "relay_model": (
        {"errors", "outcome"},
        {"json_objects"},
        {"conversation"},
        {"pieces"},
        {"backends.protocol", "backends.settings"},
        {"backends.functions", "backends.support", "backends.threaded"},
        {"backends.demo", "backends.local", "backends.providers"},
        {"backends.registry"},
        {"settings"},
        {"admission", "metrics_server"},
        {"accounting"},
        {"service"},
        {"serving"},
        {"commands"},
        {"__main__"},
    ),
    "relay_demo": ({"__main__"},),
}

#: The gateway's folders that are bound: what else of the gateway each may import.
GATEWAY: dict[str, set[str]] = {
    "extensions": set(),
    "server": {"extensions"},
    "relay": {"extensions"},
    "runs": {"extensions", "relay"},
}

#: Packages of this project that a package never imports.
NEVER = {
    "relay_common": {"relay_demo", "relay_gateway", "relay_model", "relay_proto"},
    "relay_gateway": {"relay_demo", "relay_model"},
    "relay_model": {"relay_demo", "relay_gateway"},
    "relay_demo": {"relay_proto"},
}

#: What makes a module depend on an event loop or on a web server.
LOOPS_AND_WEB = {"anyio", "asyncio", "h2", "h11", "hypercorn", "quart", "quart_trio", "trio"}


def modules(*packages: str) -> list[str]:
    """Return the full names of all modules of some packages; a folder's own name for `__init__`."""
    paths = (path for package in packages for path in (SOURCE / package).rglob("*.py"))
    return sorted(
        ".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__")
        for path in paths
    )


def imported(module: str) -> set[str]:
    """Return the full names of what a module imports, wherever in it the import stands."""
    path = SOURCE.joinpath(*module.split("."))
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{module} imports by a relative name"
            names |= set(_imported_from(str(node.module), [alias.name for alias in node.names]))
    return names


def _imported_from(module: str, names: list[str]) -> Iterator[str]:
    """Give the modules of `from module import names`: a name can be a module itself."""
    for name in names:
        path = SOURCE.joinpath(*module.split("."), name)
        is_module = path.is_dir() or path.with_suffix(".py").is_file()
        yield f"{module}.{name}" if is_module else module


def part(name: str, parts: set[str]) -> str:
    """Return the part that a module belongs to, by its full name; "" for none."""
    _, _, inner = name.partition(".")
    return next((each for each in parts if f"{inner}.".startswith(f"{each}.")), "")


@pytest.mark.parametrize("module", modules(*LEVELS))
def test_parts_are_imported_one_way(module: str) -> None:
    package = module.partition(".")[0]
    levels = {name: level for level, names in enumerate(LEVELS[package]) for name in names}
    own = part(module, set(levels))
    for name in imported(module):
        if name.partition(".")[0] != package:
            continue
        other = part(name, set(levels))
        assert other, f"{module} imports the package {name}, which is no part of a level"
        assert other == own or levels[other] < levels.get(own, -1), f"{module} imports {name}"


@pytest.mark.parametrize("package", LEVELS)
def test_every_module_has_its_level(package: str) -> None:
    parts = set[str]().union(*LEVELS[package])
    folders = {package, f"{package}.backends"}
    assert [name for name in modules(package) if not part(name, parts)] == sorted(
        folders & set(modules(package))
    )
    assert [each for each in parts if not any(part(m, {each}) for m in modules(package))] == []


@pytest.mark.parametrize("module", modules("relay_gateway"))
def test_the_gateways_folders_are_imported_one_way(module: str) -> None:
    own = module.split(".")[1] if "." in module else ""
    if own not in GATEWAY:
        return
    others = {name.split(".")[1] for name in imported(module) if name.startswith("relay_gateway.")}
    assert others <= GATEWAY[own] | {own}


@pytest.mark.parametrize("module", modules(*PACKAGES))
def test_what_a_package_never_imports(module: str) -> None:
    others = {name.partition(".")[0] for name in imported(module)}
    assert not others & NEVER[module.partition(".")[0]]


def test_events_are_encoded_without_an_event_loop_and_a_web_server() -> None:
    assert not {name.partition(".")[0] for name in imported("relay_gateway.relay.sse")} & (
        LOOPS_AND_WEB
    )


# -- nothing happens at import ---------------------------------------------------------------------

#: Imports modules. Prints who of us, or of the library for settings, has read the environment, the
#: threads and the handlers of logs. (Libraries copy the environment, for example to find proxies.)
IMPORTS_WATCHED = """\
import importlib, logging, os, sys, threading
readers = set()
get = os._Environ.__getitem__
def watched(environment, name):
    frame = sys._getframe(1)
    while frame.f_code.co_filename.startswith("<frozen "):
        frame = frame.f_back
    reader = frame.f_code.co_filename
    if "/relay_" in reader or "pydantic_settings" in reader:
        readers.add(reader)
    return get(environment, name)
os._Environ.__getitem__ = watched
for module in sys.argv[1:]:
    importlib.import_module(module)
print(readers, [thread.name for thread in threading.enumerate()], logging.getLogger().handlers)
"""


def test_nothing_happens_at_import() -> None:
    """No setting is read, right or wrong; no thread is started and no log configured."""
    wrong = {"RELAY_MODEL_PORT": "abc", "RELAY_PORT": "abc", "RELAY_LOG_LEVEL": "abc"}
    result = subprocess.run(
        [
            sys.executable,
            "-c",
            IMPORTS_WATCHED,
            *modules("relay_common", "relay_demo", "relay_model"),
        ],
        capture_output=True,
        encoding="utf-8",
        env={**os.environ, **wrong},
        check=False,
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout == "set() ['MainThread'] []\n"
