# prints: the transaction is open
import asyncio

state = []


async def transfer():
    state.append("open")
    try:
        await asyncio.Event().wait()  # the database is slow
        state.append("committed")
    except Exception:  # a cancellation is no Exception
        state.append("rolled back")
        raise


async def main():
    try:
        await asyncio.wait_for(transfer(), timeout=0.1)
    except TimeoutError:
        print("the transaction is", state[-1])


asyncio.run(main())
