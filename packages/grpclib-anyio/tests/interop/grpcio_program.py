"""A grpcio server as a process of its own, which can be killed. It prints its port."""

import sys
import threading

from interop.contract import Witness
from interop.grpcio_peers import GrpcioServer
from interop.peer import Endpoint

#: Seconds after which the program ends should nobody kill it.
LIFETIME = 60.0


def main() -> None:
    server = GrpcioServer(Endpoint(), Witness())
    sys.stdout.write(f"port {server.endpoint.port}\n")
    sys.stdout.flush()
    threading.Event().wait(LIFETIME)
    server.close()


if __name__ == "__main__":
    main()
