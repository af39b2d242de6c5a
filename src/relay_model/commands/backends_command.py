"""``relay-model backends``: which there are, and what each needs."""

import os
import sys
from argparse import ArgumentParser
from importlib.util import find_spec
from typing import TYPE_CHECKING

from relay_model.backends.registry import BACKENDS, installed_backends

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.metadata import EntryPoint

    from relay_model.backends.registry import BuiltIn

__all__ = ["main"]


def main(arguments: "Sequence[str] | None" = None) -> int:
    """Run the command and return its exit code.

    Args:
        arguments: the command line after the command's name; nothing but ``--help``.

    """
    description = "List the backends: what each is, and what it needs."
    ArgumentParser("relay-model backends", description=description).parse_args(arguments)
    notes = {name: _own_notes(backend) for name, backend in BACKENDS.items()}
    notes |= {name: _notes_of_other(point) for name, point in installed_backends().items()}
    width = max(map(len, notes))
    for name, lines in notes.items():
        sys.stdout.write(f"{name:{width}}  {lines[0]}\n")
        sys.stdout.writelines(f"{'':{width}}  {line}\n" for line in lines[1:])
    return 0


def _own_notes(backend: "BuiltIn") -> list[str]:
    notes = [backend.summary]
    if backend.library is not None:
        state = "installed" if find_spec(backend.library) else "not installed"
        notes.append(f"needs token-relay[{backend.extra}]: {state}")
    # Whether, and never what: these are keys.
    is_set = {name: "set" if os.environ.get(name) else "not set" for name in backend.variables}
    return notes + [f"reads {name}: {state}" for name, state in is_set.items()]


def _notes_of_other(point: "EntryPoint") -> list[str]:
    if point.dist is None:
        return [point.value]
    metadata = point.dist.metadata
    summary = metadata["Summary"] if "Summary" in metadata else point.value  # noqa: SIM401 - has no get
    return [summary, f"from {point.dist.name} {point.dist.version}"]


if __name__ == "__main__":
    sys.exit(main())
