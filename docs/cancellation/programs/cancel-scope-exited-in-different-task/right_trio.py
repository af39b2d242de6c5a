# prints: entered and left in one task
import trio


async def hold_database(stop, task_status):
    async with trio.open_nursery():
        task_status.started("database")
        await stop.wait()
    print("entered and left in one task")


async def main():
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(hold_database, stop)  # set up: the task stays open
        stop.set()  # tear down: that task is told, and leaves by itself


trio.run(main)
