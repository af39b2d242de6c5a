# prints: recorded: delivered
import asyncio


async def write(event):
    try:
        await asyncio.wait_for(asyncio.sleep(60), 0.1)  # the browser reads nothing
    except TimeoutError:
        asyncio.current_task().cancel()  # and returns as if it had written


async def main():
    outcome = "not complete"
    try:
        await write("the last event")
        outcome = "delivered"
    finally:
        print("recorded:", outcome)


try:
    asyncio.run(main())
except asyncio.CancelledError:
    pass
