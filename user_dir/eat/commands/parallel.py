"""Work on many clips at once, with a progress bar."""

from multiprocessing.pool import ThreadPool
from typing import Callable, Iterator, Optional, Sequence, TypeVar

from .progress import show_progress

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    description: str,
    initializer: Optional[Callable[[], None]] = None,
    is_problem: Optional[Callable[[Result], bool]] = None,
) -> Iterator[Result]:
    """Yield `function(item)` of all items, in their order.

    Threads and not processes: decoding, resampling and torch run without Python's lock, and
    threads neither import torch again nor copy anything.

    Args:
        function: the work on one item.
        items: what to work on.
        num_workers: number of threads.
        description: what the progress bar says.
        initializer: called once in each thread.
        is_problem: see `show_progress`.
    """
    # Chunks keep the queue of millions of items small; eight per worker keep all of them busy.
    chunk_size = min(16, max(1, len(items) // (8 * num_workers)))
    pool = ThreadPool(num_workers, initializer)
    try:
        results = pool.imap(function, items, chunk_size)
        yield from show_progress(results, len(items), description, is_problem=is_problem)
    finally:
        pool.terminate()
        pool.join()  # Python aborts when it exits while a thread is still decoding
