# prints: done after the cancellation: 0
import asyncio


async def work(queue, done):
    while not queue.empty():
        await asyncio.sleep(0)  # a cancellation is raised here, and others may run
        done.append(await queue.get())  # does not wait while the queue has items


async def main():
    queue, done = asyncio.Queue(), []
    for number in range(1000):
        queue.put_nowait(number)
    worker = asyncio.create_task(work(queue, done))
    asyncio.get_running_loop().call_soon(worker.cancel)  # after the worker's first step
    await asyncio.wait([worker])
    print("done after the cancellation:", len(done))


asyncio.run(main())
