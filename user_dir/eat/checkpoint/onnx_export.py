"""Networks as ONNX graphs: any number of clips, any length up to two minutes."""

import importlib.util
import json
import logging
import os
import tempfile
import warnings
from contextlib import contextmanager
from typing import Any, Iterator, Optional

import torch

from eat.files import write_file

from .building import build_classifier, build_encoder
from .checkpoint import FRONT_END, Checkpoint, CheckpointError
from .onnx_network import MAX_ROWS, FromLogMel, FromWaveform

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # read by onnxruntime 1.18 of 2024 and later
TOLERANCE = 1e-4  # of the largest output
INT8_TOLERANCE = 0.2  # the same with quantised weights: a random EAT-base differs by 0.02

GRAPHS = {"spectrogram": FromLogMel, "waveform": FromWaveform}


def write(
    checkpoint: Checkpoint, path: str, input: str = "spectrogram", quantize: Optional[str] = None
) -> None:
    """Write an encoder or a classifier as an ONNX graph, once onnxruntime agrees with torch.

    A graph takes any number of clips B and their (B,) int64 `lengths`: a clip gets what it gets
    alone, whatever it is padded with. `quantize="int8"` makes the weights of its linear layers
    integers. Metadata: `input`, `quantize`, front end and labels under "eat", as JSON. By `input`:

    - "spectrogram": `source` (B, 1, T, F) float32 normalised log-mel, T any multiple of the patch
      size up to 768 patches; `lengths` in frames. T for all makes padding count, as in the released
      code. Returns `tokens` (B, 1+L, D), those of padding included, or `logits` (B, C).
    - "waveform": `waveform` (B, S) float32, mono, at the metadata's `reading_rate_hz` (16000 as
      released), in [-1, 1], from 25 ms to 2 minutes; `lengths` in samples. Returns `tokens`, 8 for
      each row of patches after CLS, or `probabilities` (B, C) of the first `target_length` frames,
      by sigmoid unless the checkpoint says softmax.

    Logits and probabilities of classifiers over time are (B, steps, C), those of padding included.

    Raises:
        ValueError: the extra `[onnx]` is not installed, or an unknown `input` or `quantize`.
        CheckpointError: the graph does not compute what the network computes.
    """
    _check_request(input, quantize)
    build = build_encoder if checkpoint.classifier is None else build_classifier
    network = GRAPHS[input](build(checkpoint).float().eval()).eval()
    encoder = network.encoder
    encoder.positions = encoder.positions_for(MAX_ROWS * encoder.config.num_columns)
    graph = _trace(network)
    if quantize is not None:
        graph = _quantized(graph)
    for node in graph.graph.node:  # which carry names of files of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    description = {"input": input, "quantize": quantize}
    keys = (*FRONT_END, "reading_rate_hz")
    description |= {key: getattr(network.log_mel, key) for key in keys}
    description |= {key: getattr(network.network, key, None) for key in ("labels", "activation")}
    graph.ClearField("metadata_props")  # the quantiser has its own
    graph.metadata_props.add(key="eat", value=json.dumps(description))
    content = graph.SerializeToString()
    _check(content, network, TOLERANCE if quantize is None else INT8_TOLERANCE, path)
    write_file(path, content)


def _check_request(input: str, quantize: Optional[str]) -> None:
    if input not in GRAPHS:
        raise ValueError(f"input: found {input!r}, expected one of {', '.join(GRAPHS)}")
    if quantize not in (None, "int8"):
        raise ValueError(f"quantize: found {quantize!r}, expected int8 or None")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"found no {', '.join(missing)}, expected all of {', '.join(PACKAGES)} for ONNX:"
            " pip install 'eat-fairseq[onnx]'"
        )


def _trace(network: FromLogMel) -> Any:
    """The graph as an `onnx.ModelProto`."""
    clips = torch.export.Dim("clips", min=1, max=2**20)
    with _quiet():
        program = torch.onnx.export(
            network,
            network.example(num_clips=2, num_rows=8),
            input_names=[network.input_name, "lengths"],
            output_names=[network.output_name],
            dynamic_shapes=({0: clips, **network.dynamic_axes()}, {0: clips}),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


def _quantized(graph: Any) -> Any:
    """The graph with int8 weights in its linear layers, one scale for each output channel.

    Their inputs are rounded as they come, with one scale for each call. The filter bank consists of
    convolutions, which stay.
    """
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    settings = {"op_types_to_quantize": ["MatMul", "Gemm"], "per_channel": True}
    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = os.path.join(folder, "int8.onnx")
        quantize_dynamic(graph, path, weight_type=QuantType.QInt8, **settings)
        return onnx.load(path)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter and the quantiser, which warn of their own parts and give advice."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


@torch.no_grad()
def _check(content: bytes, network: FromLogMel, tolerance: float, path: str) -> None:
    """Compare batches with what torch gives for each clip alone, of other sizes than the trace."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for num_clips, num_rows in ((1, 1), (1, 64), (3, 16)):
        inputs, lengths = network.example(num_clips, num_rows)
        feed = {network.input_name: inputs.numpy(), "lengths": lengths.numpy()}
        (found,) = session.run(None, feed)
        for clip, length, output in zip(inputs, lengths, found, strict=True):
            expected = network.alone(clip, int(length))
            output = torch.from_numpy(output[: len(expected)])  # without the tokens of padding
            difference = (output - expected).abs().max() / expected.abs().max()
            if not difference < tolerance:
                raise CheckpointError(
                    f"{path}: not written: onnxruntime differs from torch by {difference:.1e} of"
                    f" the largest output, expected less than {tolerance:.0e}"
                )
