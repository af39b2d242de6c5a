# prints: the handler goes on after its deadline
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
            print("the handler goes on after its deadline")
    except TimeoutError:
        print("the handler ended at its deadline")


asyncio.run(main())
