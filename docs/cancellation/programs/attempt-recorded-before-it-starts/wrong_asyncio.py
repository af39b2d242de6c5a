# prints: the second call gets nothing, because nobody makes the attempt
import asyncio


async def connected(attempts, tasks):
    if not attempts:
        attempts.append(asyncio.Queue())  # recorded, and then the next line raises
        tasks.create_task(attempts[0].put("a connection"))
    return await attempts[0].get()


async def main():
    attempts, outcome = [], "nothing, because nobody makes the attempt"
    try:
        await connected(attempts, None)  # a mistake: there is no task group yet
    except AttributeError:
        async with asyncio.TaskGroup() as tasks:
            second = asyncio.create_task(connected(attempts, tasks))
            if (await asyncio.wait([second], timeout=2))[0]:
                outcome = second.result()
    print("the second call gets", outcome)


asyncio.run(main())
