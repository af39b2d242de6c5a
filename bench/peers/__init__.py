"""The peers: what most Python teams would write first, from the usual packages of PyPI.

For example, ``fastapi_gateway`` is compared with our gateway.
"""

from pathlib import Path
from typing import Any

import grpc

__all__ = ["CONTRACT", "import_stubs"]

CONTRACT = Path(__file__).parents[2] / "proto" / "ai.proto"


def import_stubs() -> tuple[Any, Any]:
    """Compile the contract with grpcio's compiler; return its messages and its services."""
    return grpc.protos_and_services(CONTRACT.name)
