"""Networks as ONNX graphs: any number of clips, any length up to two minutes."""

import importlib.util
import json
import logging
import warnings
from contextlib import contextmanager
from typing import Any, Iterator, Union

import torch
from torch import Tensor

from eat.files import replace_file
from eat.nn import Classifier, Encoder, EncoderConfig

from .building import build_classifier, build_encoder
from .checkpoint import FRONT_END, Checkpoint, CheckpointError

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
OPSET = 18  # read by onnxruntime 1.18 of 2024 and later
MAX_ROWS = 768  # patches along time that the graph takes, 122.88 s: the released position table
TOLERANCE = 1e-4  # of the largest output

Network = Union[Encoder, Classifier]


def write(checkpoint: Checkpoint, path: str) -> None:
    """Write an encoder or a classifier as an ONNX graph, once onnxruntime agrees with torch.

    The graph's input `source` is a (B, 1, T, F) float32 normalised log-mel spectrogram; B is any
    number and T any multiple of the patch size, up to 768 patches. Its output is `tokens`
    (B, 1+L, D), or `logits` (B, C) of a classifier. Padding counts as sound, as in the released
    code. The graph's metadata holds the front end and the labels under "eat", as JSON.

    Raises:
        ValueError: the extra `[onnx]` is not installed.
        CheckpointError: the graph does not compute what the network computes.
    """
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(
            f"found no {', '.join(missing)}, expected all of {', '.join(PACKAGES)} for ONNX:"
            " pip install 'eat-fairseq[onnx]'"
        )
    build = build_encoder if checkpoint.classifier is None else build_classifier
    network = build(checkpoint).float().eval()
    encoder = network if checkpoint.classifier is None else network.encoder
    encoder.positions = encoder.positions_for(MAX_ROWS * encoder.config.num_columns)
    graph = _trace(network, encoder.config)
    for node in graph.graph.node:  # which carry names of files of this machine
        node.ClearField("metadata_props")
        node.ClearField("doc_string")
    description = {key: getattr(network.log_mel, key) for key in FRONT_END}
    description |= {key: getattr(network, key, None) for key in ("labels", "activation")}
    graph.metadata_props.add(key="eat", value=json.dumps(description))
    content = graph.SerializeToString()
    _check(content, network, encoder.config, path)
    with replace_file(path) as file:
        file.write(content)


def _trace(network: Network, config: EncoderConfig) -> Any:
    """The graph as an `onnx.ModelProto`."""
    clips = torch.export.Dim("clips", min=1, max=2**20)
    rows = torch.export.Dim("rows", min=1, max=MAX_ROWS)
    with _quiet():
        program = torch.onnx.export(
            network,
            (_example(config, num_clips=2, num_rows=8),),
            input_names=["source"],
            output_names=["logits" if isinstance(network, Classifier) else "tokens"],
            dynamic_shapes=({0: clips, 2: config.patch_size * rows},),
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    return program.model_proto


def _example(config: EncoderConfig, num_clips: int, num_rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    shape = (num_clips, 1, num_rows * config.patch_size, config.num_mel_bins)
    return 0.5 * torch.randn(shape, generator=generator)


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence the exporter, which warns of its own parts and of a missing torchvision."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


@torch.no_grad()
def _check(content: bytes, network: Network, config: EncoderConfig, path: str) -> None:
    """Compare with torch for other numbers of clips and other lengths than those of the trace."""
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    for num_clips, num_rows in ((1, 1), (1, 64), (3, 16)):
        source = _example(config, num_clips, num_rows)
        expected = network(source)
        (found,) = session.run(None, {"source": source.numpy()})
        difference = (torch.from_numpy(found) - expected).abs().max() / expected.abs().max()
        if not difference < TOLERANCE:
            raise CheckpointError(
                f"{path}: not written: onnxruntime differs from torch by {difference:.1e} of the"
                f" largest output, expected less than {TOLERANCE:.0e}"
            )
