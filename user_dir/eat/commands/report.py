"""`eat report`: a training run as one page."""

from dataclasses import dataclass
from typing import ClassVar, List, Optional

from .options import argument, option


@dataclass(kw_only=True)
class Options:
    """Write one page about a training run, as HTML.

    The page shows settings and data, curves, masks, results, speed, environment and the command
    to repeat the run; what cannot be read or drawn is left out, and the page says why. It needs no
    network, no other file and no JavaScript. It shows what `eat evaluate` and `eat probe` wrote
    into the run's folder (--out RUN/evaluation) or into the folders given with --results.
    """

    EXAMPLE: ClassVar[str] = "eat report checkpoints/mine --out report.html"

    run: str = argument("the run's folder, its checkpoint.save_dir", metavar="RUN")
    out: str = option("the file to write", "report.html")
    log: Optional[str] = option(
        "a file with what the run printed (default: RUN/train.log, if it is there)", None
    )
    results: List[str] = option(
        "folders with results of `eat evaluate` or `eat probe`", [], metavar="DIR"
    )
    compare: Optional[str] = option(
        "another run's folder or log, to draw its curves below and say how far they differ",
        None,
        metavar="RUN",
    )
    num_embedded: int = option(
        "validation clips to show in the map of embeddings at most, 0 for no map", 200, at_least=0
    )


def run(options: Options) -> int:
    """Write the page."""
    from eat.figures import render_report
    from eat.files import write_file
    from eat.training.run import read_run

    run = read_run(options.run, options.log)
    page = render_report(run, options.results, options.num_embedded, options.compare)
    write_file(options.out, page.encode(errors="backslashreplace"))  # names need not be UTF-8
    print(options.out)
    return 0
