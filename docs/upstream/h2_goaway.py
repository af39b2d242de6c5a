"""h2 closes a connection in both directions when its peer says GOAWAY, streams in progress too."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import DataReceived
from h2.exceptions import ProtocolError
from hyperframe.frame import DataFrame, GoAwayFrame

REQUEST = [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "x")]


def connected():
    """Return a client with stream 1 open in both directions."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    client.send_headers(1, REQUEST)
    server.receive_data(client.data_to_send())
    server.send_headers(1, [(":status", "200")])
    client.receive_data(server.data_to_send())
    client.data_to_send()
    return client


def sends(client):
    try:
        client.send_data(1, b"more")
    except ProtocolError:
        return False
    return True


def receives(client):
    try:
        events = client.receive_data(DataFrame(1, b"more").serialize())
    except ProtocolError:
        return False
    return any(isinstance(event, DataReceived) for event in events)


going = GoAwayFrame(0, last_stream_id=1).serialize()
receiver, sender, queued = connected(), connected(), connected()
queued.send_data(1, b"queued before")
for client in (receiver, sender, queued):
    client.receive_data(going)
works = [receives(receiver), sends(sender), b"queued before" in queued.data_to_send()]
print(
    "FAULT: after GOAWAY with last stream 1, stream 1 neither receives nor sends, and what was"
    " queued for it is gone"
    if not any(works)
    else f"NO FAULT: of receiving, sending and what was queued, these work: {works}"
)
