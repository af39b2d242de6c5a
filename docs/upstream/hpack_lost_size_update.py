"""hpack forgets to announce a smaller table when it is told the same size again."""

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from hpack import Encoder

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]


def first_byte(*sizes):
    """Return the first byte of the block that follows these changes of the table's size."""
    encoder = Encoder()
    for size in sizes:
        encoder.header_table_size = size
    return encoder.encode([(b":method", b"GET")])[0]


def is_understood(*sizes):
    """Say whether a server that sets these sizes, one by one, can read the client's request."""
    client, server = H2Connection(), H2Connection(H2Configuration(client_side=False))
    client.initiate_connection()
    server.initiate_connection()
    for size in sizes:
        server.update_settings({SettingCodes.HEADER_TABLE_SIZE: size})
    client.receive_data(server.data_to_send())
    client.send_headers(1, REQUEST, end_stream=True)
    try:
        server.receive_data(client.data_to_send())
    except ProtocolError:
        return False
    return True


once, twice = first_byte(16), first_byte(16, 16)  # 0x30 is "the size is 16"
print(
    f"FAULT: set to 16 once, a block begins with 0x{once:02x}; set twice, with 0x{twice:02x},"
    " and the server cannot read it"
    if once == 0x30 != twice and is_understood(16) and not is_understood(16, 16)
    else "NO FAULT: the size is announced in both cases"
)
