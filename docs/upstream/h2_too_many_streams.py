"""h2 ends the whole connection over one stream too many, which the client could not know."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import TooManyStreamsError
from h2.settings import SettingCodes, Settings

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]

client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
server.local_settings = Settings(
    client=False, initial_values={SettingCodes.MAX_CONCURRENT_STREAMS: 1}
)
server.initiate_connection()
client.initiate_connection()
client.send_headers(1, REQUEST, end_stream=True)
client.send_headers(3, REQUEST, end_stream=True)  # the server's SETTINGS have not arrived
try:
    server.receive_data(client.data_to_send())
    state = "open"
except TooManyStreamsError:
    state = server.state_machine.state.name
print(
    "FAULT: the connection is closed, and stream 1 with it"
    if state == "CLOSED"
    else f"NO FAULT: the connection is {state}"
)
