"""Use exported folders with transformers, as somebody who has nothing else would.

    python check_huggingface.py FOLDER

FOLDER holds what tests/checkpoint/test_huggingface.py puts there: the exported folders, and the
values that they must compute. Run by it with one version of transformers, and without `eat`.
"""

import sys
import warnings
from pathlib import Path

import numpy as np
import peft
import torch
import transformers
from huggingface_hub import ModelCard
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

FOLDER = Path(sys.argv[1])
EXPECTED = {key: torch.from_numpy(value) for key, value in np.load(FOLDER / "expected.npz").items()}
REMOTE = {"trust_remote_code": True}


def path(name):
    return str(FOLDER / name)


def assert_close(found, expected, tolerance=1e-5):
    assert found.shape == expected.shape, (found.shape, expected.shape)
    assert (found - expected).abs().max() < tolerance, (found - expected).abs().max()


@torch.no_grad()
def check_encoder():
    model, info = AutoModel.from_pretrained(path("pretrain"), output_loading_info=True, **REMOTE)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert not model.training
    assert type(AutoConfig.from_pretrained(path("pretrain"), **REMOTE)) is type(model.config)
    assert (model.config.hidden_size, model.config.num_hidden_layers) == (48, 3)
    for length in (64, 128, 256):
        output = model(EXPECTED[f"source_{length}"])
        assert_close(output.last_hidden_state, EXPECTED[f"features_{length}"])
        assert torch.equal(output.pooler_output, output.last_hidden_state[:, 0])
        assert output.hidden_states is None
    features = model.extract_features(EXPECTED["source_128"])
    assert_close(features, EXPECTED["features_128"])
    states = model(EXPECTED["source_128"], output_hidden_states=True).hidden_states
    assert len(states) == 4
    assert torch.equal(states[-1], features)
    return model


@torch.no_grad()
def check_lengths(model):
    extractor = AutoFeatureExtractor.from_pretrained(path("pretrain"), **REMOTE)
    clips = [EXPECTED[f"clip_{index}"].numpy() for index in range(3)]
    batch = extractor(clips, sampling_rate=16_000, padding="longest", return_tensors="pt")
    assert batch["attention_mask"].shape == batch["input_values"].shape[::2]
    tokens = model(**batch).last_hidden_state
    for index, clip in enumerate(clips):
        alone = model(**extractor(clip, padding=True, return_tensors="pt")).last_hidden_state[0]
        assert_close(tokens[index, : alone.shape[0]], alone)
        assert_close(alone, EXPECTED[f"clip_features_{index}"])
    beyond = model(EXPECTED["source_beyond"]).last_hidden_state  # longer than the position table
    assert_close(beyond, EXPECTED["features_beyond"])


def check_extractor():
    extractor = AutoFeatureExtractor.from_pretrained(path("finetune"), **REMOTE)
    clips = [EXPECTED[f"clip_{index}"].numpy() for index in range(3)]
    expected = EXPECTED["input_values"]
    assert_close(extractor(clips, return_tensors="pt")["input_values"], expected)
    assert_close(extractor(clips[0].tolist(), return_tensors="pt")["input_values"], expected[:1])
    values = extractor(torch.from_numpy(clips[1]), sampling_rate=16_000)["input_values"]
    assert isinstance(values, np.ndarray)
    assert np.abs(values - expected[1:2].numpy()).max() < 1e-5
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cut = extractor(clips[2])
        assert "found a clip of 2.48 s" in str(caught[0].message)
        assert len(caught) == 1
        asked = extractor(clips, truncation=True)["input_values"]
        longest = extractor(clips[2], padding="longest", truncation=True)
        assert len(caught) == 1
    for found in (cut, longest):
        assert np.array_equal(found["input_values"], asked[2:])
    assert longest["attention_mask"].sum() == 128
    wide = AutoFeatureExtractor.from_pretrained(path("wide"), **REMOTE)
    assert (wide.sampling_rate, wide.high_hz) == (32_000, 14_000.0)
    values = wide(clips[2], sampling_rate=32_000, return_tensors="pt")["input_values"]
    assert_close(values, EXPECTED["wide_input"])
    whole = np.int16(32768 * clips[0].clip(-0.99, 0.99))
    from_floats = extractor(whole / np.float32(32768))["input_values"]
    assert np.array_equal(extractor(whole)["input_values"], from_floats)
    longer = AutoFeatureExtractor.from_pretrained(path("finetune"), target_length=256, **REMOTE)
    assert longer(clips[0])["input_values"].shape == (1, 1, 256, 128)
    for arguments, message in (
        ((clips[0], 44_100), "found 44100 Hz, expected 16000 Hz"),
        ((clips[0], 16_000, "shortest"), "padding: found 'shortest'"),
        ((np.zeros((1, 2, 400), np.float32),), "found a clip of shape (2, 400)"),
        ((np.zeros(400, np.int32),), "type torch.int32, expected (S,) floats"),
        ((clips[2], None, "max_length", None, False), "found a clip of 2.48 s, which is more than"),
        ((np.zeros(0, np.float32),), "found a clip of shape (0,)"),
    ):
        try:
            extractor(*arguments)
        except ValueError as error:
            assert message in str(error), error
        else:
            raise AssertionError(message)


@torch.no_grad()
def check_classifier():
    for auto_class in (AutoModelForAudioClassification, AutoModel):
        model = auto_class.from_pretrained(path("finetune"), **REMOTE)
        assert_close(model(EXPECTED["source"]).logits, EXPECTED["logits"])
        assert_close(model.extract_features(EXPECTED["source"]), EXPECTED["features"])
    assert model.config.id2label == {0: "en", 1: "fr", 2: "ru"}
    logits = EXPECTED["logits"]
    indices, several = torch.tensor([0, 2]), torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])
    single_loss = model(EXPECTED["source"], labels=indices).loss
    assert_close(single_loss, -logits.log_softmax(1)[[0, 1], indices].mean())
    several_loss = model(EXPECTED["source"], labels=several).loss
    likelihoods = torch.where(several == 1, logits, -logits).sigmoid().log()
    assert_close(several_loss, -likelihoods.mean())
    mean = AutoModelForAudioClassification.from_pretrained(path("finetune mean.v2"), **REMOTE)
    assert_close(mean(EXPECTED["source"]).logits, EXPECTED["mean_logits"])
    mask = EXPECTED["mask"]
    assert_close(mean(EXPECTED["source"], mask).logits, EXPECTED["masked_mean_logits"])


def check_pipeline():
    classify = pipeline("audio-classification", model=path("finetune"), **REMOTE)
    clips = [EXPECTED[f"clip_{index}"].numpy() for index in range(3)]
    probabilities = EXPECTED["clip_logits"].softmax(dim=1)
    for answers in (classify(clips), classify(clips, batch_size=3)):
        for answer, expected in zip(answers, probabilities, strict=True):
            order = expected.argsort(descending=True)
            assert [entry["label"] for entry in answer] == [("en", "fr", "ru")[i] for i in order]
            scores = torch.tensor([entry["score"] for entry in answer])
            assert_close(scores, expected.sort(descending=True).values)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        classify(clips[2])
    assert any("its end is left out" in str(warning.message) for warning in caught)
    several = classify(clips[0], function_to_apply="sigmoid", top_k=1)
    assert abs(several[0]["score"] - EXPECTED["clip_logits"][0].max().sigmoid()) < 1e-5


@torch.no_grad()
def check_half_precision():
    for dtype in (torch.float16, torch.bfloat16):
        model = AutoModel.from_pretrained(path("pretrain"), torch_dtype=dtype, **REMOTE)
        assert {value.dtype for value in model.state_dict().values()} == {dtype}
        found = model.extract_features(EXPECTED["source_128"])
        assert found.dtype == dtype
        assert_close(found.float(), EXPECTED["features_128"], 0.2)


def check_new_head():
    """Fine-tuning with transformers: a pre-trained folder, a new head, saved, loaded again."""
    model, info = AutoModelForAudioClassification.from_pretrained(
        path("pretrain"), num_labels=400, output_loading_info=True, **REMOTE
    )
    new = {f"model.{part}.{kind}" for part in ("fc_norm", "head") for kind in ("bias", "weight")}
    assert set(info["missing_keys"]) == new
    assert abs(model.model.head.weight.std() - 0.02) < 0.002
    assert not model.model.head.bias.any()
    assert (model.model.fc_norm.weight == 1).all()
    model.train()
    model(EXPECTED["source_128"], labels=torch.arange(2)).loss.backward()
    assert model.model.extra_tokens.grad is not None
    model.eval().save_pretrained(path("saved by transformers"))
    again = AutoModelForAudioClassification.from_pretrained(path("saved by transformers"), **REMOTE)
    for name, value in model.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name


def check_cards():
    """The code in the model cards runs."""
    for name, result, shape in (
        ("pretrain", "tokens", (1, 65, 48)),
        ("finetune", "logits", (1, 3)),
    ):
        card = (FOLDER / name / "README.md").read_text(encoding="utf-8")
        code = card.partition("```python\n")[2].partition("```")[0]
        names = {"folder": path(name), "waveform": EXPECTED["clip_0"].numpy()}
        exec(code, names)
        assert names[result].shape == shape
        metadata = ModelCard.load(FOLDER / name / "README.md", ignore_metadata_errors=False).data
        assert (metadata.license, metadata.library_name) == ("unknown", "transformers")
        assert metadata.pipeline_tag == {"finetune": "audio-classification"}.get(name)


def classifier(name="finetune", **settings):
    return AutoModelForAudioClassification.from_pretrained(path(name), **settings, **REMOTE)


@torch.no_grad()
def check_published():
    """A published folder, its code replaced by `eat convert`, works with this version."""
    assert_close(classifier("converted")(EXPECTED["source"]).logits, EXPECTED["logits"])


@torch.no_grad()
def check_outputs():
    source, mask = EXPECTED["source"], EXPECTED["mask"]
    for kind in ("sdpa", "eager"):
        model = classifier(attn_implementation=kind)
        assert model.config._attn_implementation == kind
        output = model(source, output_attentions=True, output_hidden_states=True)
        assert_close(output.logits, EXPECTED["logits"])
        assert_close(torch.stack(output.attentions), EXPECTED["attentions"])
        assert len(output.hidden_states) == 4
        assert torch.equal(output.hidden_states[-1], model.extract_features(source))
        masked = model(source, mask, output_attentions=True)
        assert_close(masked.logits, EXPECTED["masked_logits"])
        weights = masked.attentions[0][0]  # of a clip of 60 frames: 4 rows of 8 patches
        assert_close(weights[..., :33].sum(-1), torch.ones(4, 65))
        assert not weights[..., 33:].any()
        first = model.model.blocks[0].attn
        fused = "scaled_dot_product" in str(graph_of(first, torch.zeros(1, 3, 48)))
        assert fused == (kind == "sdpa")
    expected = model(source, labels=torch.zeros(2, dtype=torch.long))
    for found in (
        model(source, labels=torch.zeros(2, dtype=torch.long), return_dict=False),
        classifier(return_dict=False)(source, labels=torch.zeros(2, dtype=torch.long)),
    ):
        assert isinstance(found, tuple) and len(found) == 2
        assert_close(found[0], expected.loss)
        assert_close(found[1], expected.logits)
    tokens, cls = AutoModel.from_pretrained(path("pretrain"), **REMOTE)(source, return_dict=False)
    assert torch.equal(tokens[:, 0], cls)


def graph_of(module, *args):
    return torch.export.export(module, args).graph


@torch.no_grad()
def check_graphs():
    source, mask, logits = EXPECTED["source"], EXPECTED["mask"], EXPECTED["logits"]
    model = classifier()
    one = {"return_dict": False}
    if transformers.__version__ < "5":
        one = {"torchscript": True}
    for traced in (
        torch.jit.trace(classifier(return_dict=False), source),
        torch.jit.trace(classifier(**one), source),
        lambda x: torch.jit.trace(model, source, strict=False)(x).values(),
    ):
        assert_close(next(iter(traced(source[:1]))), logits[:1])
    clips, rows = torch.export.Dim("clips"), torch.export.Dim("rows", max=64)
    for strict in (False, True):
        dynamic = ({0: clips, 2: 16 * rows},)
        program = torch.export.export(model, (source,), dynamic_shapes=dynamic, strict=strict)
        assert_close(program.module()(source[:1]).logits, logits[:1])
        longer = torch.cat([source, source], dim=2)
        assert_close(program.module()(longer).logits, model(longer).logits)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    assert_close(compiled(source).logits, logits)
    assert_close(compiled(source, mask).logits, EXPECTED["masked_logits"])
    quantized = torch.ao.quantization.quantize_dynamic(model, {torch.nn.Linear}, torch.qint8)
    assert 0 < (quantized(source).logits - logits).abs().max() < 0.05


def gradients_of(model, **inputs):
    model.zero_grad()
    model(EXPECTED["source"], labels=torch.tensor([0, 2]), **inputs).loss.backward()
    return {name: value.grad for name, value in model.named_parameters() if value.requires_grad}


def check_gradient_checkpointing():
    model, calls = classifier().train(), []
    expected = gradients_of(model)
    for use_reentrant in (False, True):
        settings = {"use_reentrant": use_reentrant}
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
        calls.clear()
        hook = model.model.blocks[1].register_forward_pre_hook(lambda *args: calls.append(1))
        found = gradients_of(model)
        hook.remove()
        assert len(calls) == 2  # again for the gradient
        for name, value in expected.items():
            assert_close(found[name], value)
    model, calls[:] = classifier(), []
    model.model.blocks[1].register_forward_pre_hook(lambda *args: calls.append(1))
    arguments = TrainingArguments(
        *(path("trainer"),),
        **{"max_steps": 1, "per_device_train_batch_size": 2, "gradient_checkpointing": True},
        **{"report_to": [], "use_cpu": True, "save_strategy": "no", "disable_tqdm": True},
    )
    clips = [{"input_values": x, "label": index} for index, x in enumerate(EXPECTED["source"])]
    before = model.model.extra_tokens.clone()
    Trainer(model=model, args=arguments, train_dataset=clips).train()
    assert len(calls) == 2
    assert not torch.equal(model.model.extra_tokens, before)


def check_adapters():
    """Every adapter is trained, on any linear layer and the convolution of the patches."""
    for targets, num_layers in ((["qkv", "proj"], 7), ("all-linear", 12 + 1)):
        for is_checkpointed in (False, True):
            model = classifier().train()
            if is_checkpointed:
                model.gradient_checkpointing_enable()
            config = peft.LoraConfig(r=2, target_modules=targets, init_lora_weights=False)
            grads = gradients_of(peft.get_peft_model(model, config))
            assert len(grads) == 2 * num_layers
            assert all(value is not None and value.any() for value in grads.values())


def check_from_scratch():
    config = AutoConfig.from_pretrained(path("pretrain"), **REMOTE)
    model = AutoModel.from_config(config, **REMOTE)
    loaded = AutoModel.from_pretrained(path("pretrain"), **REMOTE)
    fresh, stored = model.state_dict(), loaded.state_dict()
    positions = "model.fixed_positional_encoder.positions"
    assert_close(fresh[positions], stored[positions], 1e-4)
    assert abs(fresh["model.blocks.0.mlp.fc1.weight"].std() - 0.02) < 0.002
    assert abs(fresh["model.extra_tokens"].std() - 1) < 0.5
    bound = (6 / (48 + 256)) ** 0.5  # Xavier, patches of 256 values -> 48
    assert 0.9 * bound < fresh["model.local_encoder.proj.weight"].abs().max() <= bound


if __name__ == "__main__":
    check_lengths(check_encoder())
    check_extractor()
    check_classifier()
    check_pipeline()
    check_half_precision()
    check_new_head()
    check_cards()
    check_from_scratch()
    check_published()
    check_outputs()
    check_graphs()
    check_gradient_checkpointing()
    check_adapters()
    print(f"transformers {transformers.__version__}, torch {torch.__version__}: all agree")
