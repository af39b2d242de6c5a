# prints: the transaction is open
import trio

state = []


async def transfer():
    state.append("open")
    try:
        await trio.sleep_forever()  # the database is slow
        state.append("committed")
    except Exception:  # a cancellation is no Exception
        state.append("rolled back")
        raise


async def main():
    with trio.move_on_after(0.1):
        await transfer()
    print("the transaction is", state[-1])


trio.run(main)
