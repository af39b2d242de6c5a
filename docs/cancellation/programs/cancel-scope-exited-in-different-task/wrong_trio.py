# prints: Nursery stack corrupted
import trio


async def database():
    async with trio.open_nursery():
        yield "database"


async def step(generator):
    await anext(generator, None)


async def main():
    fixture = database()
    for _ in ("set up", "tear down"):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(step, fixture)  # each step in a task of its own


trio.run(main)
