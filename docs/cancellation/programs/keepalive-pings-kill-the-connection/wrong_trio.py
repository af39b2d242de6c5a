# prints: 19 connections lost in an hour
import trio
from trio.testing import MockClock


async def connection(interval):
    for _ in range(3):  # the server forgives two pings that come too soon
        await trio.sleep(interval)
    if interval < 300:  # the server's limit, which it does not tell its clients
        raise ConnectionError("GOAWAY ENHANCE_YOUR_CALM too_many_pings")


async def main():
    interval, lost = 60, 0
    with trio.move_on_after(3599):
        while True:
            try:
                await connection(interval)
            except ConnectionError:
                lost += 1  # and connects again, with the same interval
    print(lost, "connections lost in an hour")


trio.run(main, clock=MockClock(autojump_threshold=0))
