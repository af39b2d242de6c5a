# prints: data for another call
import trio

streams = {1: "a call", 3: "another call"}


def receive_data(frames):  # as a library does it: all of the state first
    for kind, number in frames:
        if kind == "RESET":
            del streams[number]
    return frames


async def main():
    send, reads = trio.open_memory_channel(1)
    await send.send([("DATA", 1), ("RESET", 1), ("DATA", 3)])  # what one recv() returns
    for frame in await reads.receive():
        for kind, number in receive_data([frame]):  # one frame, then what it means
            if kind == "DATA":
                print("data for", streams[number])


trio.run(main)
