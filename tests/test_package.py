import subprocess
import sys

import pytest
from helpers import GOLDEN, REPOSITORY

import eat

# Blocks the imports of a run that must do without them.
BLOCK = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocked())
sys.path.insert(0, {user_dir!r})
"""
TRAINING_STACK = ("fairseq", "hydra", "omegaconf", "sklearn", "torchaudio", "timm", "torchvision")
NEED_FAIRSEQ = {
    *("eat.tasks", "eat.models", "eat.criterions", "eat.optim"),
    *("eat.data.datasets", "eat.data.classification"),
    *("eat.training.bad_audio", "eat.training.checkpoint_files", "eat.training.gradients"),
    *("eat.training.epochs", "eat.training.guarded", "eat.training.start"),
    *("eat.training.output", "eat.training.saving", "eat.training.validation"),
    "eat.training.workers",
}
NEED_SCIKIT_LEARN = {"eat.figures.embeddings"}
# The classes that go into exported Hugging Face folders; the package itself never imports them.
NEED_TRANSFORMERS = {"eat.checkpoint.huggingface_model"}


def run(code, blocked=TRAINING_STACK):
    block = BLOCK.format(blocked=blocked, user_dir=str(REPOSITORY / "user_dir"))
    return subprocess.run(
        [sys.executable, "-c", block + code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_inference_needs_no_fairseq():
    checkpoint = str(GOLDEN / "official_pretrain.pt")
    shape = run(
        "import eat, torch\n"
        "log_mel = eat.LogMel(target_length=128)(torch.zeros(16000))\n"
        f"print(tuple(eat.load_encoder({checkpoint!r})(log_mel).shape))"
    )
    assert shape == "(1, 65, 48)"


@pytest.mark.parametrize("name", ["load_pretraining_model", "criterions"])
def test_what_needs_fairseq_says_how_to_get_it(name):
    found = run(
        "import eat, sys\nsys.modules['fairseq'] = None\n"
        f"try: eat.{name}\nexcept ModuleNotFoundError as error: print(error)",
        blocked=(),
    )
    assert found.startswith(f"eat.{name} needs fairseq (")
    assert found.endswith("pip install 'eat-fairseq[train]'")


def test_only_the_training_rooms_import_fairseq():
    package = REPOSITORY / "user_dir"
    names = sorted(
        ".".join(path.relative_to(package).with_suffix("").parts).removesuffix(".__init__")
        for path in (package / "eat").rglob("*.py")
    )
    rooms = NEED_FAIRSEQ | NEED_TRANSFORMERS | NEED_SCIKIT_LEARN
    free = [n for n in names if not any(n == r or n.startswith(f"{r}.") for r in rooms)]
    assert len(free) < len(names)
    run("import importlib\n" + f"for name in {free!r}: importlib.import_module(name)")


def test_import_is_light():
    modules = run("import eat; print('torch' in sys.modules)", blocked=())
    assert modules == "False"


def test_public_names():
    assert set(eat.__all__) <= set(dir(eat))
    for name in eat.__all__:
        assert getattr(eat, name) is not None
    with pytest.raises(AttributeError, match="module 'eat' has no attribute 'encoder'"):
        eat.encoder  # noqa: B018
