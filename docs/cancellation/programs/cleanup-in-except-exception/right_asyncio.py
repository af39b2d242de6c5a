# prints: the transaction is rolled back
import asyncio

state = []


async def transfer():
    state.append("open")
    try:
        await asyncio.Event().wait()  # the database is slow
        state.append("committed")
    finally:  # however the block ends
        if state[-1] != "committed":
            state.append("rolled back")


async def main():
    try:
        await asyncio.wait_for(transfer(), timeout=0.1)
    except TimeoutError:
        print("the transaction is", state[-1])


asyncio.run(main())
