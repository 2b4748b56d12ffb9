"""Memory of a process that trains on a CPU."""

import ctypes

# Parameters of glibc's mallopt (malloc.h).
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_MMAP_THRESHOLD_BYTES = 1 << 30


def keep_freed_memory() -> None:
    """Have the C library keep what is freed for the next allocation, where it is glibc.

    It would give large blocks back to the system and get them again, page by page and filled with
    zeros: an activation costs as much time for that as for its arithmetic.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another C library, another system
        return
    mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
    mallopt(_M_TRIM_THRESHOLD, -1)  # never
