"""How a provider's failures are read, one by one."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import httpx  # noqa: ASYNC127 - the ollama library makes its requests with it, not with httpx2
import httpx2
import pytest
from grpclib.const import Status

from relay_model.backends.providers.failures import connection_failure, retry_after


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"retry-after": "7"}, 7),
        ({"retry-after": "1.5"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "7"}, 1.5),
        ({"retry-after": formatdate(0, usegmt=True)}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "1e300"}, 86_400),
        ({"retry-after": "inf"}, None),
    ],
)
def test_delays_are_read(headers: Mapping[str, str], expected: float | None) -> None:
    assert retry_after(headers) == expected


def test_a_date_is_a_delay() -> None:
    delay = retry_after({"retry-after": formatdate(time.time() + 60, usegmt=True)})
    assert delay is not None
    assert 30 < delay <= 60


@pytest.mark.parametrize("library", [httpx, httpx2])
def test_what_the_http_clients_raise(library: Any) -> None:
    def status(name: str) -> Status:
        failure = connection_failure(getattr(library, name)("x"), library)
        assert failure is not None
        assert not failure.may_retry
        return failure.status

    assert status("ConnectTimeout") is Status.UNAVAILABLE
    assert status("ReadTimeout") is Status.DEADLINE_EXCEEDED
    assert status("RemoteProtocolError") is Status.UNAVAILABLE
    assert connection_failure(ZeroDivisionError(), library) is None
