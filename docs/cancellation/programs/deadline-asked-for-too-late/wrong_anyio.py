# prints: recorded: deadline exceeded
import anyio


async def call():
    deadline = anyio.current_effective_deadline()  # minus infinity: cancelled already
    try:
        await anyio.sleep(1)
    finally:
        late = anyio.current_time() >= deadline
        print("recorded:", "deadline exceeded" if late else "cancelled")


async def main():
    with anyio.move_on_after(60), anyio.CancelScope() as request:
        request.cancel()  # the browser leaves before the call begins
        await call()


anyio.run(main)
