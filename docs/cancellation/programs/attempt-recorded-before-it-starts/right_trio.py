# prints: the second call gets a connection
import trio


async def connected(attempts, nursery):
    if not attempts:
        send, receive = trio.open_memory_channel(1)
        nursery.start_soon(send.send, "a connection")
        attempts.append(receive)  # nothing can fail any more
    return await attempts[0].receive()


async def main():
    attempts, outcome = [], "nothing, because nobody makes the attempt"
    async with trio.open_nursery() as nursery:
        with trio.move_on_after(2):
            try:
                await connected(attempts, None)  # a mistake: there is no nursery yet
            except AttributeError:
                outcome = await connected(attempts, nursery)
    print("the second call gets", outcome)


trio.run(main)
