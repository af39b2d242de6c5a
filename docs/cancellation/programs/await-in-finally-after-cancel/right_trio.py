# prints: told to stop: True
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
            with trio.move_on_after(1, shield=True):  # one second, then give up
                await stop_engine()
    print("told to stop:", told)


trio.run(main)
