"""What each module may import."""

import ast
from pathlib import Path

import pytest

import grpclib_anyio

PACKAGE = Path(grpclib_anyio.__file__).parent
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py"))

#: From the wire up; a module imports from its own level and the ones before.
LEVELS = (
    {"on_trio"},
    {
        "wakeup",
        "errors",
        "flow_control",
        "floods",
        "config",
        "metadata",
        "peer",
        "timers",
        "backoff",
        "tls",
        "messages",
        "header_compression",
    },
    {"codec", "compression", "received_frames", "sent_frames", "slots"},
    {"http2", "keepalive"},
    {"framing"},
    {"message_stream"},
    {"connection"},
    {"drain"},
    {"connector"},
    {"replay", "response"},
    {"client_call"},
    {"betterproto_stubs"},
    {"client"},
    {"betterproto_compat"},
    {"server_call"},
    {"health"},
    {"server"},
    {"testing"},
)


def imported(module: str) -> set[str]:
    """Return what a module imports: full names, and bare ones for those of the package."""
    tree = ast.parse((PACKAGE / f"{module}.py").read_text(encoding="utf-8"))
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(f".{node.module}" if node.level else (node.module or "").partition(".")[0])
    return names


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_an_event_loop(module: str) -> None:
    known = {"trio"} if module == "on_trio" else set[str]()
    assert imported(module) & {"asyncio", "trio"} == known


def test_flow_control_imports_nothing_at_all() -> None:
    assert imported("flow_control") == set()


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str) -> None:
    levels = {name: number for number, level in enumerate(LEVELS) for name in level}
    own = levels.get(module, len(LEVELS))
    for name in imported(module):
        if name.startswith("."):
            assert levels[name[1:]] <= own, f"{module} imports {name}"


def test_every_module_has_its_place() -> None:
    assert set(MODULES) - {"__init__"} <= set().union(*LEVELS)
