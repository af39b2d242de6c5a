# prints: the request still waits
import asyncio


async def relay(model, browser, seconds):
    while True:
        try:
            token = await asyncio.wait_for(model.get(), seconds)
        except TimeoutError:
            return
        await browser.put(token)  # the browser does not read


async def main():
    model, browser = asyncio.Queue(), asyncio.Queue(1)
    model.put_nowait("token 1")
    model.put_nowait("token 2")
    request = asyncio.create_task(relay(model, browser, 0.1))
    _done, pending = await asyncio.wait([request], timeout=1)
    print("the request", "still waits" if pending else "ended in time")
    request.cancel()


asyncio.run(main())
