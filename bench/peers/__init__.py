"""What most Python teams would write first, from PyPI's usual packages; ours is beside it."""

from pathlib import Path
from typing import Any

import grpc

__all__ = ["CONTRACT", "import_stubs"]

CONTRACT = Path(__file__).parents[2] / "proto" / "ai.proto"


def import_stubs() -> tuple[Any, Any]:
    """Compile the contract and import what grpcio's own compiler makes of it."""
    return grpc.protos_and_services(CONTRACT.name)
