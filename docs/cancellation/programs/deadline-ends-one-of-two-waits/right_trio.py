# prints: the request ended in time
import trio


async def relay(model, browser, deadline):
    with browser, trio.move_on_at(deadline):  # around both waits
        while True:
            token = await model.receive()
            await browser.send(token)  # the browser does not read


async def main():
    (tokens, model), (browser, _) = (trio.open_memory_channel(0) for _ in range(2))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(tokens.send, "token")
        with trio.move_on_after(5) as test:
            await relay(model, browser, trio.current_time() + 0.1)
    print("the request still waits" if test.cancelled_caught else "the request ended in time")


trio.run(main)
