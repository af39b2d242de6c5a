# prints: told to stop: False
import trio

told = False


async def stop_engine():
    global told
    await trio.sleep(0)  # sends the message
    told = True


async def main():
    with trio.CancelScope() as scope:
        try:
            scope.cancel()
            await trio.sleep_forever()
        finally:
            await stop_engine()  # raises Cancelled at its first checkpoint
    print("told to stop:", told)


trio.run(main)
