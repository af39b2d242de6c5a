# prints: told to stop: False
import anyio

told = False


async def stop_engine():
    global told
    await anyio.sleep(0)  # sends the message
    told = True


async def main():
    with anyio.CancelScope() as scope:
        try:
            scope.cancel()
            await anyio.sleep_forever()
        finally:
            await stop_engine()  # raises CancelledError at its first checkpoint
    print("told to stop:", told)


anyio.run(main)
