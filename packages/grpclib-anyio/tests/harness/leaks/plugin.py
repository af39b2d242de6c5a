"""What is looked at after every test: whatever it has made is gone.

A test that leaves something on purpose says why: `@pytest.mark.may_leak("…")`.
"""

from collections.abc import Callable, Coroutine, Generator, Iterator
from functools import wraps
from inspect import iscoroutinefunction
from typing import Any

import pytest

from harness.leaks import channels, registry
from harness.leaks.garbage import Garbage, collect
from harness.leaks.process import Process
from harness.leaks.tasks import Generators, all_tasks, tasks_since

AsyncTest = Callable[..., Coroutine[Any, Any, None]]

_has_failed = pytest.StashKey[bool]()


def _may_leak(item: pytest.Item) -> bool:
    return any(map(item.get_closest_marker, ("browser", "may_leak")))


@pytest.fixture(autouse=True)
def nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail a test after which anything is left that was not there before."""
    if _may_leak(request.node):
        yield
        return
    process = Process()
    yield
    left = [*registry.leaks(), *channels.leaks()]
    collect()  # what is dropped without its end is so in this test, and not in a later one
    left += process.leaks()
    # The traceback of a failure holds all that there was.
    if left and not request.node.stash.get(_has_failed, False):
        pytest.fail("\n".join(["left behind:", *left]))


@pytest.fixture
def no_garbage() -> Iterator[None]:
    """Fail a test in which something that is made for a call is found by the collector only."""
    garbage = Garbage()
    yield
    if left := garbage.leaks():
        pytest.fail("\n".join(["left behind:", *left]))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Remember that a phase of the test failed."""
    report = yield
    if report.failed:
        item.stash[_has_failed] = True
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Look at the event loop when the test is over, before its fixtures are."""
    if isinstance(item, pytest.Function) and not _may_leak(item):
        if hasattr(item.obj, "hypothesis"):
            test = item.obj.hypothesis
            if iscoroutinefunction(test.inner_test):
                test.inner_test = _looking(test.inner_test)
        elif iscoroutinefunction(item.obj):
            item.obj = _looking(item.obj)
    return (yield)


def _looking(test: AsyncTest) -> AsyncTest:
    @wraps(test)
    async def looking(*args: Any, **kwargs: Any) -> None:
        before, generators = all_tasks(), Generators()
        with generators.watched():
            await test(*args, **kwargs)
            left = [*await tasks_since(before), *generators.leaks()]
        if left:
            pytest.fail("\n".join(["left behind:", *left]))

    return looking
