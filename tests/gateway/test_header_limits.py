"""Headers have one limit, whatever HTTP they come by: see docs/configuration.md."""

from functools import partial

import pytest
import trio

from relay_gateway.serving import serve
from relay_gateway.settings import GatewaySettings
from tests.support.browsers import http1, http2

#: h11 looks at the size of what is not whole yet, after each read of 64 KiB.
FITS, TOO_LARGE = 60_000, 140_000
SOON = 10.0


@pytest.mark.trio
@pytest.mark.parametrize(("size", "status"), [(FITS, 200), (TOO_LARGE, 431)])
async def test_headers_have_the_same_limit(size: int, status: int) -> None:
    target = f"/healthz?{'x' * size}"
    stop = trio.Event()
    with trio.fail_after(SOON):
        async with trio.open_nursery() as nursery:
            settings = GatewaySettings(port=0, drain_seconds=0)
            (origin,) = await nursery.start(partial(serve, settings, stop=stop))
            async with http1(origin) as one, http2(origin) as two:
                await one.send(target)
                assert (await one.headers()).status_code == status
                assert await two.until_status(await two.send(target)) == str(status)
                assert await two.until_status(await two.send("/healthz")) == "200"
            stop.set()
