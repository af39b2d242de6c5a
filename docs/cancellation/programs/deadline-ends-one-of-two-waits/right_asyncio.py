# prints: the request ended in time
import asyncio


async def relay(model, browser, seconds):
    try:
        async with asyncio.timeout(seconds):  # around both waits
            while True:
                token = await model.get()
                await browser.put(token)  # the browser does not read
    except TimeoutError:
        return


async def main():
    model, browser = asyncio.Queue(), asyncio.Queue(1)
    model.put_nowait("token 1")
    model.put_nowait("token 2")
    request = asyncio.create_task(relay(model, browser, 0.1))
    _done, pending = await asyncio.wait([request], timeout=5)
    print("the request", "still waits" if pending else "ended in time")


asyncio.run(main())
