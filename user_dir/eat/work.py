"""Long work on many inputs: in threads, with a progress bar, and what became of each input."""

from collections import deque
from concurrent.futures import Executor
from multiprocessing.pool import ThreadPool
from typing import Any, Callable, Iterable, Iterator, NamedTuple, Optional, Sequence, Tuple, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
Result = TypeVar("Result")

_IN_ANOTHER_PROCESS = "Original Traceback (most recent call last)"  # torch, of loading processes


class Failure(NamedTuple):
    """An input that could not be used, and why."""

    path: str  # the file, folder or clip, as messages call it
    reason: str  # in one line, without the path

    @classmethod
    def of(cls, path: str, error: Exception) -> "Failure":
        """The failure that an error about a path tells of."""
        return cls(path, " ".join(str(error).removeprefix(f"{path}: ").split()))


def is_failure(result: Any) -> bool:
    """Whether work gave no result."""
    return isinstance(result, Failure)


def show_progress(
    results: Iterable[Result],
    total: int,
    description: str,
    unit: str = "clip",
    failed: Callable[[Result], bool] = is_failure,
) -> Iterator[Result]:
    """Yield results as they come, with a bar on stderr: share, rate, time left, failures so far.

    There is no bar when stderr is no terminal. It begins with a description, and counts the results
    by their `unit`, of which there will be `total`, and those that `failed` says are failures.
    """
    num_failures = 0
    with tqdm(results, total=total, desc=description, unit=unit, disable=None) as bar:
        for result in bar:
            if failed(result):
                num_failures += 1
                bar.set_postfix_str(f"{num_failures} failed")
            yield result


def map_in_threads(
    function: Callable[[Item], Result],
    items: Sequence[Item],
    num_workers: int,
    description: str,
    initializer: Optional[Callable[[], None]] = None,
    failed: Callable[[Result], bool] = is_failure,
) -> Iterator[Result]:
    """Yield `function(item)` of all items, in their order, with a progress bar.

    Threads and not processes: decoding, resampling and torch run without Python's lock, and
    threads neither import torch again nor copy anything. `initializer` is called once in each.
    """
    if num_workers < 1:
        raise ValueError(f"num_workers: found {num_workers}, expected 1 or more")
    # Chunks keep the queue of millions of items small; eight per worker keep all of them busy.
    chunk_size = min(16, max(1, len(items) // (8 * num_workers)))
    pool = ThreadPool(num_workers, initializer)
    try:
        results = pool.imap(function, items, chunk_size)
        yield from show_progress(results, len(items), description, failed=failed)
    finally:
        pool.terminate()
        pool.join()  # Python aborts when it exits while a thread is still decoding


def map_ahead(
    items: Sequence[Item], work: Callable[[Item], Result], executor: Executor, num_ahead: int
) -> Iterator[Tuple[Item, Result]]:
    """Yield each item with the result of its work, in order.

    While the caller deals with one, `num_ahead` others are worked on, and no more: the memory
    does not depend on how many there are. An item that is alone is worked on by the calling
    thread, with all of torch's threads.
    """
    if len(items) == 1:
        yield items[0], work(items[0])
        return
    under_way = deque()
    for item in items:
        under_way.append((item, executor.submit(work, item)))
        if len(under_way) > num_ahead:
            first, result = under_way.popleft()
            yield first, result.result()
    for first, result in under_way:
        yield first, result.result()


def in_one_line(error: BaseException) -> str:
    """The message of an error; of one in another process without the traceback there."""
    text = str(error).strip()
    if _IN_ANOTHER_PROCESS in text:
        text = text.splitlines()[-1].partition(": ")[2]
    return text
