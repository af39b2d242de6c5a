# prints: the consumer's own sleep was cancelled
import trio


async def fail():
    raise ValueError("in the background")


async def chunks():
    async with trio.open_nursery() as nursery:
        nursery.start_soon(fail)
        yield "first"  # suspended here, with the nursery open


async def main():
    async for _chunk in chunks():
        try:
            await trio.sleep(1)  # the consumer's own code
        except trio.Cancelled:
            print("the consumer's own sleep was cancelled")
            raise


trio.run(main)
