"""h2 answers frames that crossed its RST_STREAM on the wire by one more RST_STREAM each."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
RST_STREAM = 3


def count_resets(data):
    """Return how many of the frames are RST_STREAM."""
    resets = 0
    while data:
        resets += data[3] == RST_STREAM
        data = data[9 + int.from_bytes(data[:3]) :]
    return resets


client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
client.initiate_connection()
server.initiate_connection()
client.send_headers(1, REQUEST, end_stream=True)
server.receive_data(client.data_to_send())
server.send_headers(1, [(":status", "200")])
client.receive_data(server.data_to_send())
client.reset_stream(1, ErrorCodes.CANCEL)
for _ in range(3):
    server.send_data(1, b"not read any more")  # the server has not seen the reset
client.receive_data(server.data_to_send())
resets = count_resets(client.data_to_send())
print(
    f"FAULT: the client resets stream 1 {resets} times"
    if resets > 1
    else "NO FAULT: the client resets stream 1 once"
)
