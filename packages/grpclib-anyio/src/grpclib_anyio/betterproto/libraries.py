"""The libraries whose generated code is completed here, and in which versions.

What is replaced in them is theirs and may be otherwise in another version. So a version that has
not been looked at is refused, with words that say what to install::

    RuntimeError: betterproto 2.0.0b8 is installed, and grpclib-anyio knows 2.0.0b7: ...
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any, NamedTuple

__all__ = ["BETTERPROTO", "BETTERPROTO2", "LIBRARIES", "Library"]


class Library(NamedTuple):
    """A library that generated code is written against."""

    name: str
    #: The version that has been looked at, or the beginning of those.
    known_version: str
    #: The modules that have ``ServiceStub`` and ``ServiceBase``.
    clients: str
    servers: str

    def is_installed(self) -> bool:
        """Return whether the library can be imported; it is not imported.

        Raises:
            RuntimeError: it is there in a version that has not been looked at.

        """
        if find_spec(self.name) is None:
            return False
        installed = self._version()
        if not f"{installed}.".startswith(f"{self.known_version}."):
            raise RuntimeError(
                f"{self.name} {installed} is installed, and grpclib-anyio knows "
                f"{self.known_version}: pip install 'grpclib-anyio[{self.name}]' gets that one, "
                f"and pip uninstall {self.name} does if nothing needs it"
            )
        return True

    def _version(self) -> str:
        try:
            return version(self.name)
        except PackageNotFoundError:
            return "of an unknown version"

    def stub_base(self) -> type[Any]:
        """Return what generated stubs derive from."""
        base: type[Any] = import_module(self.clients).ServiceStub
        return base

    def service_base(self) -> type[Any]:
        """Return what generated services derive from."""
        base: type[Any] = import_module(self.servers).ServiceBase
        return base


BETTERPROTO = Library(
    "betterproto",
    "2.0.0b7",
    "betterproto.grpc.grpclib_client",
    "betterproto.grpc.grpclib_server",
)
BETTERPROTO2 = Library(
    "betterproto2",
    "0.10",
    "betterproto2.grpclib.grpclib_client",
    "betterproto2.grpclib.grpclib_server",
)
LIBRARIES = (BETTERPROTO, BETTERPROTO2)
