"""`eat tag`: the most probable classes of recordings, or what sounds when in them."""

import json
import sys
from dataclasses import dataclass
from typing import Any, ClassVar, List, Optional, Union

from eat.evaluation import EVENT_FORMATS
from eat.features import DeviceOption

from .options import argument, option
from .shared import CHECKPOINT, LabelsOption, print_failures


def _parse_threshold(text: str) -> Union[float, str]:
    try:
        return float(text)
    except ValueError:
        return text


@dataclass(kw_only=True)
class Options(DeviceOption, LabelsOption):
    """Name the classes of recordings with a fine-tuned checkpoint, the most probable first.

    A recording that is longer than the clips of the fine-tuning is cut into parts of that length,
    and the probabilities of its parts are averaged, weighted by duration.

    With --timeline, when each class begins and ends. A checkpoint that was fine-tuned on whole
    clips scores windows of their length. The input - is then 16-bit little-endian PCM from stdin,
    a WAV or mono samples at --rate, whose events are printed as they end.
    """

    EXAMPLE: ClassVar[str] = "eat tag dog.flac rain.wav --checkpoint EAT-base_epoch30_ft.pt --top 3"

    inputs: List[str] = argument("audio file, folder, or manifest (.tsv)", metavar="INPUT")
    checkpoint: str = option(f"{CHECKPOINT}; fine-tuned")
    top: int = option("classes to name of each file", 10, at_least=1)
    activation: Optional[str] = option(
        "sigmoid: any number of classes at once, as in AudioSet; softmax: exactly one, as in"
        " ESC-50. Not given: the checkpoint's, or sigmoid if it does not say",
        None,
        choices=("sigmoid", "softmax"),
    )
    json: bool = option("print one JSON array instead of a table, for programs", False)
    timeline: bool = option("find events, with their times, instead of classes", False)
    threshold: Union[float, str] = option(
        "with --timeline: the probability above which a class is there, or the thresholds.json that"
        " `eat evaluate --out` wrote",
        0.5,
        parse=_parse_threshold,
        metavar="NUMBER|FILE",
    )
    hop_seconds: Optional[float] = option(
        "with --timeline: how far windows, as long as in the training, move on. Not given: half of"
        " one, or for a checkpoint of whole clips an eighth",
        None,
        metavar="SECONDS",
    )
    format: str = option(
        "with --timeline: table: for people; csv: DCASE's columns and the score; audacity: a label"
        " track; raven: a selection table",
        "table",
        choices=EVENT_FORMATS,
    )
    out: Optional[str] = option(
        "with --timeline: file to write to; for audacity and raven a folder with a file for each"
        " recording, dawn.flac.txt for dawn.flac. Not given: stdout",
        None,
    )
    figure: Optional[str] = option(
        "with --timeline: PNG and SVG of one recording, events above its spectrogram",
        None,
        metavar="FILE",
    )
    rate: Optional[int] = option("sample rate of stdin in Hz, unless it is a WAV", None, at_least=1)


def run(options: Options) -> int:
    """Print the tags or events of files; 1 if some could not be read."""
    from eat.checkpoint import load_classifier
    from eat.evaluation import EventWriter, tag, tag_over_time, write_event_tables
    from eat.machine import choose_device
    from eat.nn import pack_linears

    _refuse_unused(options)
    classifier = pack_linears(load_classifier(options.checkpoint, choose_device(options.device)))
    settings = {"hop_seconds": options.hop_seconds, "activation": options.activation}
    if not options.timeline:
        tagging = tag(options.inputs, classifier, options.top, options.activation)
    elif options.inputs == ["-"]:
        return _tag_stdin(options, classifier, settings)
    else:
        tagging = tag_over_time(options.inputs, classifier, options.threshold, **settings)
    if options.json:
        kind = "events" if options.timeline else "tags"
        found = [{"path": path, kind: [o._asdict() for o in ones]} for path, ones in tagging.files]
        print(json.dumps(found, indent=2))
    elif not options.timeline:
        for path, tags in tagging.files:
            print(path, *(f"  {one.probability:.4f}  {one.label}" for one in tags), sep="\n")
    elif options.out is not None:
        write_event_tables(options.out, options.format, classifier.log_mel, tagging.files)
    else:
        writer = EventWriter(sys.stdout, options.format, classifier.log_mel)
        for recording in tagging.files:
            writer.write(*recording)
    status = print_failures(tagging.failures, tagging.other_files)
    if options.figure is not None:
        from eat.figures import draw_timeline, save_figure

        if len(tagging.files) != 1:
            raise ValueError(f"--figure: found {len(tagging.files)} recordings, expected one")
        save_figure(draw_timeline(*tagging.files[0], classifier.log_mel), options.figure)
    return status


def _refuse_unused(options: Options) -> None:
    """Raise a ValueError for options that would have no effect beside the others."""
    if not options.timeline:
        names = ("threshold", "hop_seconds", "format", "out", "figure", "rate")
        where = "without --timeline"
    elif options.inputs == ["-"]:
        names, where = ("top", "json", "out", "figure"), "with the input -"
    elif options.json:
        names, where = ("top", "rate", "format", "out"), "with --timeline --json and files"
    else:
        names, where = ("top", "rate"), "with --timeline and files"
    found = [name for name in names if getattr(options, name) != getattr(Options, name)]
    if found:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in found)
        raise ValueError(f"{flags}: found {where}, expected none of these")


def _tag_stdin(options: Options, classifier: Any, settings: Any) -> int:
    """Print each event of stdin as it ends."""
    from eat.audio.stream import read_stream
    from eat.evaluation import EventWriter, tag_stream

    log_mel = classifier.log_mel
    chunks = read_stream(sys.stdin.buffer, log_mel.reading_rate_hz, options.rate)
    writer = EventWriter(sys.stdout, options.format, log_mel)
    for event in tag_stream(chunks, classifier, options.threshold, **settings):
        writer.write("", [event])
        sys.stdout.flush()
    return 0
