"""The garbage collector of a program that serves."""

import subprocess
import sys


def test_what_is_there_is_left_out_and_the_rest_looked_for_less_often() -> None:
    """In a process of its own, because it changes the collector of all tests."""
    program = (
        "import gc\n"
        "from relay_common.gc_tuning import tune_gc\n"
        "before = gc.get_threshold()\n"
        "tune_gc()\n"
        "assert gc.get_freeze_count() > 1000\n"
        "young, *others = gc.get_threshold()\n"
        "assert young > before[0] and tuple(others) == before[1:]\n"
        "assert gc.isenabled()\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (result.returncode, result.stderr) == (0, b"")
