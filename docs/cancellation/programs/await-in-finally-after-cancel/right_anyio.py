# prints: told to stop: True
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
            with anyio.move_on_after(1, shield=True):  # one second, then give up
                await stop_engine()
    print("told to stop:", told)


anyio.run(main)
