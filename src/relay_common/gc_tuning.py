"""Python's garbage collector, set for a program that serves.

Nearly everything is freed when its last reference goes. What is left are cycles: few, and small.
The collector looks for them through every object there is, and all streams stand still meanwhile.
"""

import gc

__all__ = ["tune_gc"]

#: Objects made and not freed between two looks at the young ones. By default it is 700 (2,000 in
#: Python 3.13), which a burst of requests makes several times a moment.
_YOUNG = 10_000


def tune_gc() -> None:
    """Leave out what is there by now, modules and classes above all; look for the rest less often.

    For the end of a program's start. It concerns the whole process, so libraries leave it alone.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
