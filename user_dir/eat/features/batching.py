"""Batches of similar lengths, worked on ahead of time by threads."""

from collections import deque
from concurrent.futures import Executor, Future
from typing import Callable, Deque, Iterable, Iterator, List, Sequence, Tuple, TypeVar

Item = TypeVar("Item")
Outcome = TypeVar("Outcome")


def make_batches(
    items: Iterable[Item], length: Callable[[Item], int], batch_size: int, max_length: int
) -> List[List[Item]]:
    """Group items of similar lengths, the longest first.

    Args:
        items: what to group.
        length: of an item.
        batch_size: items in a batch at most.
        max_length: of all items of a batch together, each padded to the longest of them; a batch
            of one item may exceed it.
    """
    batches: List[List[Item]] = []
    capacity = 0  # of the last batch, whose first item is its longest
    for item in sorted(items, key=length, reverse=True):
        if not batches or len(batches[-1]) == capacity:
            batches.append([])
            capacity = max(1, min(batch_size, max_length // length(item)))
        batches[-1].append(item)
    return batches


def map_ahead(
    batches: Sequence[Sequence[Item]],
    work: Callable[[Sequence[Item]], Outcome],
    executor: Executor,
    num_ahead: int,
) -> Iterator[Tuple[Sequence[Item], Outcome]]:
    """Yield each batch with the outcome of its work, in order.

    While the caller deals with one, `num_ahead` others are worked on, and no more: the memory
    does not depend on how many there are. A batch that is alone is done by the calling thread,
    with all of torch's threads.
    """
    if len(batches) == 1:
        yield batches[0], work(batches[0])
        return
    under_way: Deque[Tuple[Sequence[Item], Future]] = deque()
    for batch in batches:
        under_way.append((batch, executor.submit(work, batch)))
        if len(under_way) > num_ahead:
            first, outcome = under_way.popleft()
            yield first, outcome.result()
    for first, outcome in under_way:
        yield first, outcome.result()
