# prints: the transaction is rolled back
import trio

state = []


async def transfer():
    state.append("open")
    try:
        await trio.sleep_forever()  # the database is slow
        state.append("committed")
    finally:  # however the block ends
        if state[-1] != "committed":
            state.append("rolled back")


async def main():
    with trio.move_on_after(0.1):
        await transfer()
    print("the transaction is", state[-1])


trio.run(main)
