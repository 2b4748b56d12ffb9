import json
import os

import numpy as np
import pytest
from safetensors.numpy import load_file

from eat.features.storage import FeatureStore, open_features

FORMATS = ("npy", "npz", "safetensors")


def features(*shape):
    return np.arange(np.prod(shape), dtype=np.float32).reshape(shape)


@pytest.fixture(params=FORMATS)
def format(request):
    return request.param


@pytest.fixture
def open_store(format, tmp_path):
    """Opens the place of the features anew, as another run would."""
    return lambda: FeatureStore(str(tmp_path), format)


def read(folder):
    """All features in a folder, whatever their form."""
    if (folder / "features.npz").exists():
        return dict(np.load(folder / "features.npz"))
    if (folder / "features.safetensors").exists():
        return load_file(folder / "features.safetensors")
    paths = folder.rglob("*.npy")
    return {str(path.relative_to(folder).with_suffix("")): np.load(path) for path in paths}


def test_features_come_back(open_store, tmp_path):
    store = open_store()
    expected = {"a": features(3, 4), "birds/wren 1": features(2, 3, 4), "birds/é": features(4)}
    assert not any(map(store.has, expected))
    for name, array in expected.items():
        store.write(name, array)
        assert store.has(name)
    store.finish()
    found = read(tmp_path)
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == np.float32
        assert np.array_equal(found[name], array)


def test_later_runs_add_to_earlier_ones(open_store, tmp_path):
    for run in range(3):
        store = open_store()
        assert [store.has(str(earlier)) for earlier in range(4)] == [n < run for n in range(4)]
        store.write(str(run), features(run + 1, 4))
        if run != 1:  # which was interrupted
            store.finish()
    found = read(tmp_path)
    assert {name: array.shape for name, array in found.items()} == {
        str(run): (run + 1, 4) for run in range(3)
    }
    assert open_store().has("0")
    assert sorted(path.name for path in tmp_path.glob("features*.parts")) == []


def test_a_run_without_anything_new_changes_nothing(open_store, tmp_path):
    store = open_store()
    store.write("a", features(4))
    store.finish()
    files = {path: path.stat().st_ino for path in tmp_path.rglob("*")}
    open_store().finish()
    assert {path: path.stat().st_ino for path in tmp_path.rglob("*")} == files


@pytest.mark.parametrize("format", ["npz", "safetensors"])
def test_one_file_holds_the_times_of_the_longest_clip(tmp_path, format):
    for name, shape in {"a": (5, 4), "b": (2, 7, 4), "c": (3, 4)}.items():
        store = FeatureStore(str(tmp_path), format, step_seconds=0.16)
        store.write(name, features(*shape))
        store.finish()
    found = read(tmp_path)
    assert np.allclose(found["times"], 0.08 + 0.16 * np.arange(7))
    assert len(found) == 4


def test_what_killed_runs_left_is_removed(open_store, tmp_path, format):
    store = open_store()
    names = ["a", "birds/wren"]
    stale = [tmp_path / ".settings.json.123.tmp"]
    stale += [] if format == "npy" else [tmp_path / f".features.{format}.123.tmp"]
    for name in names:
        store.write(name, features(4))
        for path in tmp_path.rglob(f"{os.path.basename(name)}.npy"):
            stale.append(path.with_name(f".{path.name}.123.tmp"))
            path.unlink()
    kept = [tmp_path / ".another.npy.123.tmp", tmp_path / "a.npy.tmp", tmp_path / ".a.npy.x.tmp"]
    for path in [*stale, *kept]:
        path.touch()
    store.claim([*names, "nowhere/a"], {}, {})
    assert len(stale) == 3 + (format != "npy") and not any(path.exists() for path in stale)
    assert all(path.exists() for path in kept)


def test_a_folder_is_claimed_for_its_settings(tmp_path):
    folder = tmp_path / "new" / "folder"
    settings = {"layers": [3, 6], "dtype": "float32"}
    store = FeatureStore(str(folder))
    store.claim([], settings, {"eat": "1"})
    noted = json.loads((folder / "settings.json").read_text())
    assert noted == {"settings": settings, "made_with": {"eat": "1"}}
    store.write("a", features(4))
    store.claim(["a"], {**settings, "layers": (3, 6)}, {"eat": "2"})
    assert json.loads((folder / "settings.json").read_text()) == noted
    message = (
        r"settings.json: found features that were made with other settings,"
        r" dtype=None \(there: 'float32'\), layers=\[3\] \(there: \[3, 6\]\), old=1 \(there: None"
        r"\); expected the same"
    )
    with pytest.raises(ValueError, match=message):
        store.claim([], {"layers": [3], "old": 1}, {})


def test_features_of_unknown_origin_are_refused(open_store, tmp_path):
    store = open_store()
    store.write("a", features(4))
    store.finish()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(FileExistsError, match="found features without the settings.json that"):
        open_store().claim(["a"], {}, {})
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"settings": 1}'])
def test_a_note_that_is_not_ours(tmp_path, content):
    (tmp_path / "settings.json").write_text(content)
    with pytest.raises(ValueError, match="settings.json: not a settings file of `eat extract`"):
        FeatureStore(str(tmp_path)).claim([], {}, {})


@pytest.mark.parametrize("format, num_bytes", [("npy", 0), ("npy", 60), ("npy", 140), ("npz", 190)])
def test_damaged_features_are_named_when_they_are_read(tmp_path, format, num_bytes):
    store = FeatureStore(str(tmp_path), format)
    store.write("a", features(3, 4))
    store.finish()
    (path,) = tmp_path.glob(f"*.{format}")
    content = path.read_bytes()
    rest = content[num_bytes + 10 :] if format == "npz" else b""
    path.write_bytes(content[:num_bytes] + bytes(10) * bool(rest) + rest)
    with pytest.raises(ValueError, match=rf"{path.name}: damaged .*; remove it to extract"):
        open_features(str(tmp_path))["a"]()


def test_damage_of_any_kind_is_named(tmp_path):
    FeatureStore(str(tmp_path)).write("a", features(3, 4))
    path = tmp_path / "a.npy"
    path.write_bytes(path.read_bytes().replace(b"'shape'", b"'shap(("))  # numpy: a TokenError
    with pytest.raises(ValueError, match="a.npy: damaged .*; remove it to extract"):
        open_features(str(tmp_path))["a"]()


@pytest.mark.parametrize("name", ["features.npz", "features.safetensors"])
@pytest.mark.parametrize("num_bytes", [0, 20])
def test_a_damaged_file_is_named(tmp_path, name, num_bytes):
    path = tmp_path / name
    store = FeatureStore(str(tmp_path), path.suffix[1:])
    store.write("a", features(3, 4))
    store.finish()
    path.write_bytes(path.read_bytes()[:num_bytes])
    for read_it in (
        lambda: FeatureStore(str(tmp_path), path.suffix[1:]),
        lambda: open_features(str(tmp_path)),
    ):
        with pytest.raises(ValueError, match=rf"{name}: damaged .*, expected features of `eat ext"):
            read_it()
