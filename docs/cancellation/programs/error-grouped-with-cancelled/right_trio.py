# prints: the handler logs ExceptionGroup
import trio


async def task():
    try:
        await trio.sleep_forever()
    finally:
        raise ValueError("bug in the clean-up")


async def main():
    with trio.move_on_after(0.1):
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(task)
                nursery.start_soon(trio.sleep_forever)
        except* Exception as errors:  # what is an Exception; the Cancelled goes on
            print("the handler logs", repr(errors))


try:
    trio.run(main)
except Exception as error:
    print("nobody handled", repr(error))
