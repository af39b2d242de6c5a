# prints: the reader failed: KeyError(1)
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
    try:
        for kind, number in receive_data(await reads.receive()):
            if kind == "DATA":  # the reset behind it has been read already
                print("data for", streams[number])
    except KeyError as error:
        print("the reader failed:", repr(error))


trio.run(main)
