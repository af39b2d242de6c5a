# prints: the slot is lost
import trio.testing


async def acquire(queue):
    queue.append(turn := trio.Event())
    await turn.wait()  # cancelled here, it keeps its place


async def main(queue):
    with trio.move_on_after(0.1):
        await acquire(queue)  # a request that gives up
    with trio.move_on_after(2) as limit:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(acquire, queue)
            await trio.testing.wait_all_tasks_blocked()
            queue.pop(0).set()  # the free slot is for the task that has waited longest
    print("the slot is", "lost" if limit.cancelled_caught else "used again")


trio.run(main, [])
