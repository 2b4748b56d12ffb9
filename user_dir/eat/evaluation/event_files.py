"""Tables of events, as programs for annotations read them."""

import csv
import io
import os
from typing import Any, Iterable, List, Sequence, TextIO, Tuple

from eat.audio import LogMel
from eat.files import write_file

from .finding import Detection

_HEADERS = {
    "csv": "filename,onset,offset,event_label,score\n",
    "raven": "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)"
    "\tHigh Freq (Hz)\tLabel\tScore\n",
}
_PER_RECORDING = ("audacity", "raven")  # formats without the name of the recording


class EventWriter:
    """Writes events to a text file as they come.

    - "table": the recording, and below it a line for each of its events, for people;
    - "csv": DCASE's columns and the score, separated by commas;
    - "audacity": a label track, with onset, offset and label, separated by tabs;
    - "raven": a selection table, over all frequencies that the front end hears.

    Times are seconds with six digits. Labels that hold a separator or a quote are quoted.
    """

    def __init__(self, file: TextIO, format: str, log_mel: LogMel) -> None:
        self._file, self._format, self._count = file, format, 0
        self._band = [f"{hz / log_mel.speed:g}" for hz in (log_mel.low_hz, log_mel.top_hz)]
        delimiter = "," if format == "csv" else "\t"
        self._write = csv.writer(file, delimiter=delimiter, lineterminator="\n").writerow
        file.write(_HEADERS.get(format, ""))

    def write(self, path: str, events: Iterable[Detection]) -> None:
        """Write events of one recording; an empty path leaves out its line in a "table"."""
        if self._format == "table" and path:
            self._file.write(f"{path}\n")
        for onset, offset, label, score in events:
            self._count += 1
            if self._format == "table":
                self._file.write(f"{onset:10.2f} {offset:10.2f}  {score:.4f}  {label}\n")
                continue
            times = f"{onset:.6f}", f"{offset:.6f}"
            view = self._count, "Spectrogram 1", 1
            cells: dict[str, Sequence[Any]] = {
                "csv": (path, *times, label, f"{score:.4f}"),
                "audacity": (*times, label),
                "raven": (*view, *times, *self._band, label, f"{score:.4f}"),
            }
            self._write(cells[self._format])


def write_event_tables(
    out: str, format: str, log_mel: LogMel, recordings: Sequence[Tuple[str, List[Detection]]]
) -> None:
    """Write the events of recordings to the file `out`, or where tables do not name recordings to a
    file for each in the folder `out`: that of a/b.wav is b.wav.txt. Such files are replaced.
    """
    if format not in _PER_RECORDING:
        tables = {out: recordings}
    else:
        paths = [os.path.abspath(path) for path, _ in recordings]
        root = os.path.commonpath([os.path.dirname(path) for path in paths]) if paths else ""
        names = [f"{os.path.relpath(path, root)}.txt" for path in paths]
        tables = {os.path.join(out, n): [one] for n, one in zip(names, recordings, strict=True)}
    for path, rows in tables.items():
        text = io.StringIO()
        writer = EventWriter(text, format, log_mel)
        for recording in rows:
            writer.write(*recording)
        write_file(path, text.getvalue().encode(errors="surrogateescape"))
