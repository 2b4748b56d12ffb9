"""Export the golden checkpoints to ONNX and use the graphs.

    python check_onnx.py FOLDER

FOLDER is where the graphs go. Run by tests/checkpoint/test_onnx_export.py with the extra `[onnx]`.
"""

import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch

import eat
from eat.checkpoint import CheckpointError, convert_checkpoint, load_checkpoint, onnx_export

REPOSITORY = Path(__file__).resolve().parents[2]
GOLDEN = REPOSITORY / "tests" / "golden"
FOLDER = Path(sys.argv[1])


def compute(graph, source):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # an error that is raised need not be printed too
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {"source": source.numpy()})
    return torch.from_numpy(output)


def assert_close(found, expected, tolerance=1e-4):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert (found - expected).abs().max() < tolerance, (found - expected).abs().max()


@torch.no_grad()
def check_same_as_torch(graph, network):
    generator = torch.Generator().manual_seed(0)
    for num_clips in (1, 3):
        for num_frames in (16, 256, 1024):
            source = torch.randn(num_clips, 1, num_frames, 128, generator=generator)
            assert_close(compute(graph, source), network(source))


def check_encoder():
    graph = FOLDER / "encoder.onnx"
    convert_checkpoint(GOLDEN / "official_pretrain.pt", graph, to="onnx")
    check_same_as_torch(graph, eat.load_encoder(GOLDEN / "official_pretrain.pt"))
    recorded = np.load(GOLDEN / "golden_pretrain.npz")
    features = compute(graph, torch.from_numpy(recorded["source"]))
    assert_close(features, torch.from_numpy(recorded["features_128"]))
    too_long = torch.zeros(1, 1, 769 * 16, 128)
    try:
        compute(graph, too_long)
    except Exception as error:  # onnxruntime's own, of no public class
        assert "6144 by 6152" in str(error), error
    else:
        raise AssertionError("a clip beyond the position table was accepted")


def check_classifier():
    graph = FOLDER / "classifier.onnx"
    convert_checkpoint(GOLDEN / "official_finetune.pt", graph, to="onnx")
    check_same_as_torch(graph, eat.load_classifier(GOLDEN / "official_finetune.pt"))
    recorded = np.load(GOLDEN / "golden_finetune.npz")
    logits = compute(graph, torch.from_numpy(recorded["source"]))
    assert_close(logits, torch.from_numpy(recorded["logits"]))


def check_what_the_file_says():
    model = onnx.load(FOLDER / "classifier.onnx")
    onnx.checker.check_model(model)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert [value.name for value in model.graph.input] == ["source"]
    assert [value.name for value in model.graph.output] == ["logits"]
    (description,) = (json.loads(entry.value) for entry in model.metadata_props)
    assert description == {
        "mean": -6.627,
        "std": 5.359,
        "target_length": 128,
        "labels": ["en", "fr", "ru"],
        "activation": "softmax",
    }
    content = (FOLDER / "classifier.onnx").read_bytes()
    for folder in (REPOSITORY, FOLDER, Path(torch.__file__).parent):
        assert str(folder).encode() not in content, folder


def check_short_position_table():
    """Checkpoints with the older table of 64 rows take longer clips too."""
    checkpoint = load_checkpoint(GOLDEN / "official_pretrain.pt")
    positions = checkpoint.encoder["positions"][:512]
    checkpoint = dataclasses.replace(
        checkpoint,
        encoder={**checkpoint.encoder, "positions": positions},
        encoder_config=dataclasses.replace(checkpoint.encoder_config, num_position_rows=64),
    )
    onnx_export.write(checkpoint, FOLDER / "short.onnx")
    source = torch.randn(1, 1, 1200, 128, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        expected = eat.load_encoder(GOLDEN / "official_pretrain.pt")(source)
    assert_close(compute(FOLDER / "short.onnx", source), expected)


def check_a_graph_that_differs_is_not_written():
    checkpoint = load_checkpoint(GOLDEN / "official_pretrain.pt")
    onnx_export.TOLERANCE = 0.0
    try:
        onnx_export.write(checkpoint, FOLDER / "different.onnx")
    except CheckpointError as error:
        assert "different.onnx: not written: onnxruntime differs from torch by" in str(error)
    else:
        raise AssertionError("a graph that differs was written")
    assert not list(FOLDER.glob("*different*"))


if __name__ == "__main__":
    check_encoder()
    check_classifier()
    check_what_the_file_says()
    check_short_position_table()
    check_a_graph_that_differs_is_not_written()
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}: all agree")
