"""Quart-Trio's test client hangs when it disconnects from an answer that goes on."""

import trio
from quart_trio import QuartTrio

app = QuartTrio(__name__)


@app.get("/")
async def ticks():
    async def answer():
        while True:
            yield b"tick"
            await trio.sleep(0.01)

    return answer(), {"content-type": "text/plain"}


async def main():
    with trio.move_on_after(1.5) as patience:
        async with app.test_client().request("/") as connection:
            await connection.receive()
            await connection.disconnect()
    print(
        "FAULT: 1.5 s after it disconnected, the client has not left"
        if patience.cancelled_caught
        else "NO FAULT: the client has left"
    )


trio.run(main)
