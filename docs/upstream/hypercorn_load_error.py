"""hypercorn exits with code 0 when its application does not load."""

import subprocess
import sys
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    Path(folder, "broken.py").write_text("raise RuntimeError\n")
    command = [sys.executable, "-m", "hypercorn", "--bind", "127.0.0.1:0", "broken:app"]
    hypercorn = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=14, check=False
    )

has_failed = "RuntimeError" in hypercorn.stderr
print(
    "FAULT: hypercorn shows a RuntimeError and exits with code 0"
    if has_failed and hypercorn.returncode == 0
    else f"NO FAULT: hypercorn exits with code {hypercorn.returncode}"
)
