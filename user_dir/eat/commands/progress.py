"""How the commands show where they are."""

from typing import Callable, Iterable, Iterator, Optional, TypeVar

from tqdm import tqdm

Result = TypeVar("Result")


def show_progress(
    results: Iterable[Result],
    total: int,
    description: str,
    unit: str = "clip",
    is_problem: Optional[Callable[[Result], bool]] = None,
) -> Iterator[Result]:
    """Yield results as they come, with a bar on stderr: share, rate, time left, problems so far.

    Args:
        results: what the work yields.
        total: how many there will be.
        description: what the bar says in front; there is none when stderr is no terminal.
        unit: what a result is.
        is_problem: whether a result is one that could not be had; the bar counts them.
    """
    num_problems = 0
    with tqdm(results, total=total, desc=description, unit=unit, disable=None) as bar:
        for result in bar:
            if is_problem is not None and is_problem(result):
                num_problems += 1
                bar.set_postfix_str(f"{num_problems} failed")
            yield result
