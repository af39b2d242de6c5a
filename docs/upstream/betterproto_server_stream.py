"""betterproto leaves a handler's generator to the garbage collector when its call is cancelled."""

import asyncio

from betterproto.grpc.grpclib_server import ServiceBase

happened = []


async def handler(request):
    """Answer without an end, as a service's method may."""
    try:
        while True:
            yield "message"
    finally:
        own = asyncio.current_task() is call
        happened.append(f"handler closed in {'its own' if own else 'another'} task")


class Stream:
    """Stands for a call whose client reads nothing."""

    async def send_message(self, message):
        await asyncio.Event().wait()


async def main():
    global call
    call = asyncio.create_task(
        ServiceBase()._call_rpc_handler_server_stream(handler, Stream(), "request")
    )
    await asyncio.sleep(0.1)
    call.cancel()
    await asyncio.wait([call])
    happened.append("call ended")
    await asyncio.sleep(0.1)


asyncio.run(main())
seen = happened == ["call ended", "handler closed in another task"]
print(f"{'FAULT' if seen else 'NO FAULT'}: {', then '.join(happened)}")
