# prints: nobody handled ExceptionGroup
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
        except Exception as error:  # a group that contains Cancelled is no Exception
            print("the handler logs", repr(error))


try:
    trio.run(main)
except Exception as error:
    print("nobody handled", repr(error))
