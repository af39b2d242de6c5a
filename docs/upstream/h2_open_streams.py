"""h2 looks at each stream that is open for each one that begins."""

from h2.connection import H2Connection
from h2.stream import H2Stream
from hyperframe.frame import SettingsFrame

REQUEST = [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "x")]
looks = 0
is_open = H2Stream.open


def count(stream):
    global looks
    looks += 1
    return is_open.fget(stream)


def looks_for(streams):
    """Return how often a stream is looked at while this number of them begins."""
    global looks
    looks = 0
    client = H2Connection()
    client.initiate_connection()
    client.receive_data(SettingsFrame(0, settings={3: 10_000}).serialize())
    for number in range(streams):
        client.send_headers(2 * number + 1, REQUEST)
    return looks


H2Stream.open = property(count)
few, many = looks_for(500), looks_for(1_000)
print(
    f"FAULT: 500 streams take {few:,} looks, 1,000 take {many:,}"
    if many > 3 * few > 0
    else f"NO FAULT: 500 streams take {few:,} looks, 1,000 take {many:,}"
)
