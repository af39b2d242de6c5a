# prints: the handler ended at its deadline
import asyncio
from contextlib import closing


async def task():
    with closing(None):  # a bug in the clean-up: None has no close()
        await asyncio.sleep(60)


async def main():
    try:
        async with asyncio.timeout(0.5):
            try:
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(task())
            except* AttributeError as errors:
                print("the handler logs", repr(errors))
            if asyncio.current_task().cancelling():
                raise asyncio.CancelledError  # which the group has dropped
    except TimeoutError:
        print("the handler ended at its deadline")


asyncio.run(main())
