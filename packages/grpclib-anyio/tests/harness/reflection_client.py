"""A client that knows no .proto: grpcio asks a server what it has, as a program of its own.

grpcio's messages of the reflection service and grpclib's have the same names, so one process can
import only either of them.
"""

import sys
from importlib import import_module
from typing import Any

import grpc


def main() -> None:
    """Print the services of the server, and the methods of the one that is named."""
    target, name = sys.argv[1:]
    reflection: Any = import_module("grpc_reflection.v1alpha.proto_reflection_descriptor_database")
    pools: Any = import_module("google.protobuf.descriptor_pool")
    with grpc.insecure_channel(target) as channel:
        database = reflection.ProtoReflectionDescriptorDatabase(channel)
        services = ",".join(sorted(database.get_services()))
        service = pools.DescriptorPool(database).FindServiceByName(name)
        methods = ",".join(f"{each.name}({each.input_type.full_name})" for each in service.methods)
    sys.stdout.write(f"services {services}\nmethods {methods}\n")


if __name__ == "__main__":
    main()
