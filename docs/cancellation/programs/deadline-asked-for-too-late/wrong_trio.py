# prints: recorded: deadline exceeded
import trio


async def call():
    deadline = trio.current_effective_deadline()  # minus infinity: cancelled already
    try:
        await trio.sleep(1)
    finally:
        late = trio.current_time() >= deadline
        print("recorded:", "deadline exceeded" if late else "cancelled")


async def main():
    with trio.move_on_after(60), trio.CancelScope() as request:
        request.cancel()  # the browser leaves before the call begins
        await call()


trio.run(main)
