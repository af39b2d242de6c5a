"""h2 takes in all of a frame before it refuses it for its length."""

from h2.connection import H2Connection
from h2.exceptions import FrameTooLargeError
from hyperframe.frame import SettingsFrame

LENGTH = 2**24 - 1
HEADER = LENGTH.to_bytes(3) + bytes(2) + (1).to_bytes(4)  # DATA on stream 1
CHUNK = bytes(64 * 1024)

client = H2Connection()
client.initiate_connection()
client.receive_data(SettingsFrame(0).serialize())
received = 0
try:
    client.receive_data(HEADER)
    while received < LENGTH:
        piece = CHUNK[: LENGTH - received]
        received += len(piece)
        client.receive_data(piece)
except FrameTooLargeError:
    pass
print(
    f"FAULT: {received:,} bytes were buffered of a frame of which 16,384 are allowed"
    if received > len(CHUNK)
    else "NO FAULT: the frame was refused by its header"
)
