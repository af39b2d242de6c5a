"""Python's garbage collector, set for a server.

Nearly every object is freed when its last reference is dropped. The rest are few and small
reference cycles, and the collector finds them by a search through all objects. No stream gets a
token during that search, so it should be short and rare.

For example, as the last step before a program serves::

    tune_gc()
    return run(main)
"""

import gc

__all__ = ["tune_gc"]

# New objects between two searches of the youngest generation. The default is 700 (2,000 in Python
# 3.13), which a burst of requests exceeds many times a second.
_YOUNG = 10_000


def tune_gc() -> None:
    """Exclude all objects that exist now, such as modules and classes, and search less often.

    For programs, as the last step of their start. Libraries must not call it, because it changes
    the collector of the whole process.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_YOUNG, *gc.get_threshold()[1:])
