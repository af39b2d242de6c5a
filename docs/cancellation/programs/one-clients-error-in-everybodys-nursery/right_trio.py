# prints: answered b'good'
import trio


async def handle(request):
    try:
        request.decode("ascii")  # raises for the second client
        await trio.sleep(1)
        print("answered", request)
    except Exception as error:  # ends this connection, and no other
        print("closed a connection:", error)


async def main():
    async with trio.open_nursery() as nursery:
        for request in (b"good", b"\xff"):
            nursery.start_soon(handle, request)


trio.run(main)
