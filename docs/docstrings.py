"""Turns what docstrings have of reStructuredText into Markdown, for the API reference.

For example, ``:meth:`Server.serve` `` becomes code, and ``Example::`` loses one of its colons.
"""

import re
from typing import Any

from griffe import Extension, Object

__all__ = ["Markdown"]

#: A role, such as ``:class:`~grpclib_anyio.server.Server```; with ``~`` the last name is shown.
_ROLE = re.compile(r":[a-z]+:`(?:~[\w.]*\.)?([^`]+)`")
_BLOCK_FOLLOWS = re.compile(r"::$", re.MULTILINE)


class Markdown(Extension):
    """Rewrites each docstring that is read."""

    def on_object(self, *, obj: Object, **_options: Any) -> None:
        """Rewrite the docstring of a module, a class, a function or an attribute."""
        if obj.docstring:
            text = _ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = _BLOCK_FOLLOWS.sub(":", text)
