# prints: recorded: delivered
import trio


async def write(request):
    with trio.move_on_after(0.1) as limit:
        await trio.sleep_forever()  # the browser reads nothing
    if limit.cancelled_caught:
        request.cancel()  # and returns as if it had written


async def main():
    outcome = "not complete"
    with trio.CancelScope() as request:
        await write(request)  # the last event
        outcome = "delivered"
    print("recorded:", outcome)


trio.run(main)
