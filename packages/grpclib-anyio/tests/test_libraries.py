"""A library in a version that nobody has looked at is refused, in words."""

from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import pytest

from grpclib_anyio import _generated
from grpclib_anyio.betterproto import libraries
from grpclib_anyio.betterproto.libraries import LIBRARIES, Library
from grpclib_anyio.client import Channel
from grpclib_anyio.server import Server

each_library = pytest.mark.parametrize("library", LIBRARIES, ids=lambda library: library.name)
both_ends = pytest.mark.parametrize(
    "make", [Channel, lambda: Server([])], ids=["channel", "server"]
)


@pytest.fixture(autouse=True)
def _look_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget which libraries are installed, which is asked once in a process."""
    uncached = _generated.installed_libraries.__wrapped__
    monkeypatch.setattr(_generated, "installed_libraries", uncached)
    monkeypatch.setattr(_generated, "complete_stubs", _generated.complete_stubs.__wrapped__)


def pretend(monkeypatch: pytest.MonkeyPatch, library: Library, installed: str | None) -> None:
    """Have a library be installed in another version, or without one."""

    def look_up(name: str) -> str:
        if name != library.name:
            return version(name)
        if installed is None:
            raise PackageNotFoundError(name)
        return installed

    monkeypatch.setattr(libraries, "version", look_up)


def refusal(make: Callable[[], object]) -> str:
    """Return what is said; the error is not kept, because it holds the channel that was begun."""
    try:
        make()
    except RuntimeError as error:
        return str(error)
    return "not refused"


@each_library
@both_ends
@pytest.mark.parametrize("installed", ["1.2.5", "2.0.0b8", "2.0.0", "0.11.0", "0.100.0", None])
def test_unknown_version_is_refused(
    library: Library,
    make: Callable[[], object],
    installed: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pretend(monkeypatch, library, installed)
    words = refusal(make)
    assert words.startswith(f"{library.name} {installed or 'of an unknown version'} is installed")
    assert f"pip install 'grpclib-anyio[{library.name}]'" in words


@each_library
def test_installed_version_is_known(library: Library) -> None:
    assert library.is_installed()


def test_library_that_is_not_there_is_not_missed() -> None:
    assert not Library("no_such_library", "1", "", "").is_installed()
