"""Print, as JSON, the names of other packages that the product replaces when everything is made."""

import importlib
import json
import pkgutil
import sys
from contextlib import suppress
from types import ModuleType
from typing import Any

OTHERS = (
    "anyio",
    "betterproto",
    "betterproto2",
    "grpclib",
    "h11",
    "h2",
    "hpack",
    "hypercorn",
    "prometheus_client",
    "pydantic_settings",
    "quart",
    "quart_trio",
    "structlog",
    "trio",
    "werkzeug",
    "wsproto",
)
#: Caches of Python's own.
CACHES = ("__abstractmethods__", "_abc_impl", "__warningregistry__", "__annotations__")


def load(name: str) -> None:
    """Import a package with all that is in it."""
    package = importlib.import_module(name)
    path = getattr(package, "__path__", ())
    for found in pkgutil.walk_packages(path, f"{name}.", onerror=lambda _name: None):
        if "tests" not in found.name and not found.name.endswith("__main__"):
            with suppress(Exception):  # for another system, or for a library that is not there
                importlib.import_module(found.name)


def names() -> dict[str, Any]:
    """Give what each name of a module, and of a class in it, stands for."""
    found: dict[str, Any] = {}
    for module in list[object](sys.modules.values()):
        if isinstance(module, ModuleType) and module.__name__.partition(".")[0] in OTHERS:
            for name, value in list(vars(module).items()):
                found[f"{module.__name__}.{name}"] = value
                if isinstance(value, type) and value.__module__ == module.__name__:
                    members = list(vars(value).items())
                    found |= {f"{module.__name__}.{name}.{m}": each for m, each in members}
    return found


def make_everything() -> None:
    """Make what makes the replacements."""
    from grpclib_anyio.client import Channel  # noqa: PLC0415 - after the first look
    from grpclib_anyio.server import Server  # noqa: PLC0415 - after the first look
    from relay_gateway.settings import GatewaySettings  # noqa: PLC0415 - after the first look
    from relay_gateway.web.asgi import create_app  # noqa: PLC0415 - after the first look

    Channel()
    Server([])
    create_app(GatewaySettings())


def main() -> None:
    """Look, make everything, and look again."""
    for name in OTHERS:
        load(name)
    before = names()
    make_everything()
    after = names()
    both = [n for n in before if n in after and not n.endswith(CACHES)]
    replaced = [n for n in both if after[n] is not before[n]]
    sys.stdout.write(json.dumps(sorted(replaced)))


if __name__ == "__main__":
    main()
