# prints: the server ends
import trio


async def handle(request):
    request.decode("ascii")  # raises for the second client
    await trio.sleep(1)
    print("answered", request)


async def main():
    try:
        async with trio.open_nursery() as nursery:
            for request in (b"good", b"\xff"):
                nursery.start_soon(handle, request)
    except* ValueError as errors:
        print("the server ends:", *errors.exceptions)


trio.run(main)
