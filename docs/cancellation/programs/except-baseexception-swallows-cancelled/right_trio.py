# prints: stopped at the deadline: True
import trio


async def fetch_with_retries():
    for _attempt in range(3):
        try:
            await trio.sleep_forever()
        except OSError:  # what a connection raises
            print("failed, trying again")
    print("gave up after 3 attempts")


async def main():
    with trio.move_on_after(0.1) as scope:
        await fetch_with_retries()
    print("stopped at the deadline:", scope.cancelled_caught)


trio.run(main)
