# prints: 0 calls were reset at once
import trio
from trio.testing import wait_all_tasks_blocked


async def call(scope, resets):
    with scope:
        await trio.sleep_forever()
    resets.add(scope)


async def main():
    scopes, resets = [trio.CancelScope() for _ in range(16)], set()
    async with trio.open_nursery() as nursery:
        for scope in scopes:
            nursery.start_soon(call, scope, resets)
        await wait_all_tasks_blocked()
        for scope in scopes:  # sixteen browsers leave
            scope.cancel()  # the call is reset when it is the turn of its task
        print(len(resets), "calls were reset at once")


trio.run(main)
