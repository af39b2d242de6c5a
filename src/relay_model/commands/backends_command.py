"""``relay-model backends``: which backends there are, and what each needs.

For example, a part of the output::

    anthropic  Anthropic's models
               needs the extra anthropic: installed
               reads ANTHROPIC_API_KEY: not set
"""

import os
import sys
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import TYPE_CHECKING

from relay_common.cli import version_of
from relay_model.backends.registry import BACKENDS, installed_backends

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

    from relay_model.backends.registry import BuiltIn

__all__ = ["main"]

_PROGRAM = "relay-model backends"


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the command line after the command's name; only ``--help`` and ``--version``.

    """
    description = "List the backends: what each is, and what it needs."
    parser = ArgumentParser(_PROGRAM, description=description)
    parser.add_argument("--version", action="version", version=version_of(_PROGRAM))
    parser.parse_args(arguments)
    notes = {name: _built_in_notes(backend) for name, backend in BACKENDS.items()}
    notes |= {name: _package_notes(point) for name, point in installed_backends().items()}
    width = max(map(len, notes))
    for name, lines in notes.items():
        sys.stdout.write(f"{name:{width}}  {lines[0]}\n")
        sys.stdout.writelines(f"{'':{width}}  {line}\n" for line in lines[1:])
    return 0


def _built_in_notes(backend: "BuiltIn") -> list[str]:
    notes = [backend.summary]
    if backend.library is not None:
        state = "installed" if find_spec(backend.library) else "not installed"
        notes.append(f"needs the extra {backend.extra}: {state}")
    # Only whether they are set, because the values are keys.
    is_set = {name: "set" if os.environ.get(name) else "not set" for name in backend.variables}
    return notes + [f"reads {name}: {state}" for name, state in is_set.items()]


def _package_notes(point: "EntryPoint") -> list[str]:
    if point.dist is None:
        return [point.value]
    summary = point.dist.metadata.json.get("summary", point.value)
    return [str(summary), f"from {point.dist.name} {point.dist.version}"]


if __name__ == "__main__":
    sys.exit(main())
