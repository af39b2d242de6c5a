# prints: the slot is used again
import asyncio


async def acquire(queue):
    queue.append(turn := asyncio.Event())
    try:
        await turn.wait()
    finally:
        if turn in queue:
            queue.remove(turn)


async def main(queue):
    waiters = [asyncio.create_task(acquire(queue)) for _ in range(2)]
    await asyncio.sleep(0)
    waiters[0].cancel()  # a request that gives up
    await asyncio.wait(waiters[:1])
    queue.pop(0).set()  # the free slot is for the task that has waited longest
    done, _ = await asyncio.wait(waiters[1:], timeout=2)
    print("the slot is", "used again" if done else "lost")


asyncio.run(main([]))
