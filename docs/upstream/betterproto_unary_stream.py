"""A betterproto stub that is closed leaves its call to the garbage collector."""

import asyncio
import contextlib

from betterproto import ServiceStub

happened = []


class Call:
    """What grpclib's `Channel.request` returns; leaving it resets the call."""

    async def __aenter__(self):
        return self

    async def __aexit__(self, *error):
        happened.append("call left")

    async def send_message(self, message, end):
        pass

    async def __aiter__(self):
        while True:
            yield "message"


class Channel:
    def request(self, *arguments, **options):
        return Call()


class Stub(ServiceStub):
    async def watch(self, request):
        """Is what the plugin generates for a method that answers with a stream."""
        async for response in self._unary_stream("/Service/Watch", request, str):
            yield response


async def main():
    async with contextlib.aclosing(Stub(Channel()).watch("request")) as responses:
        async for _ in responses:
            break
    happened.append("stub closed")
    await asyncio.sleep(0.1)


asyncio.run(main())
print(
    "FAULT: `aclosing(stub.watch())` ends, and the call goes on"
    if happened == ["stub closed", "call left"]
    else f"NO FAULT: {', '.join(happened)}"
)
