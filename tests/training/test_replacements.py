"""The table of what is replaced in fairseq: complete, verified, and put in place by the door."""

import ast
import subprocess
import sys

import pytest
from helpers import REPOSITORY

from eat.training.replacements import TABLE, find_problems, install

ITERATOR = "fairseq.data.iterators.EpochBatchIterator"


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.parts[0].partition("(")[0])
def test_the_installed_fairseq_has_every_part(row):
    assert [problem for part in row.parts for problem in find_problems(part)] == []
    assert row.by and row.why and row.until
    assert row.upstream.startswith(("#", "perhaps #", "none known"))


def test_the_door_puts_the_replacements_in_place():
    parts = [row.parts[0].partition("(")[0] for row in TABLE if ":" in row.by]
    code = (
        f"import fairseq_cli.hydra_train, pkgutil, sys; sys.path.insert(0, {str(REPOSITORY)!r})\n"
        "import user_dir\n"
        f"found = [pkgutil.resolve_name(part) for part in {parts!r}]\n"
        "codes = [getattr(f, 'by', f).__code__ for f in found]\n"
        "print([(code.co_filename.rsplit('/', 1)[1], code.co_name) for code in codes])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found = ast.literal_eval(run.stdout.splitlines()[-1])
    assert found == [
        ("checkpoint_files.py", name)
        for name in (
            *("save_checkpoint", "copy_checkpoint", "load_checkpoint_to_cpu", "prepare_folder"),
        )
    ] + [
        *(("saving.py", name) for name in ("saving", "keeping_best", "finishing")),
        *(("start.py", "beginning"), ("start.py", "beginning"), ("workers.py", "starting")),
        *(("workers.py", "on_any_device"), ("masters.py", "keep_masters")),
        ("masters.py", "drop_gradients"),
        *(("masters.py", "store_counters"), ("masters.py", "load_counters")),
    ]


@pytest.mark.parametrize(
    "part",
    [
        "fairseq.checkpoint_utils.torch_persistent_save",
        "fairseq.checkpoint_utils.verify_checkpoint_directory",
        "fairseq.file_io.PathManager.copy",
        "fairseq.optim.FairseqOptimizer.clip_grad_norm",
        "fairseq.logging.metrics.get_active_aggregators",
        f"{ITERATOR}._get_iterator_for_epoch",
        f"{ITERATOR}.ordered_batches",
    ],
)
def test_a_part_that_has_another_name_is_an_error(monkeypatch, part):
    monkeypatch.delattr(part)
    name = part.rsplit(".", 1)[1]
    message = rf"fairseq\S* 0\.12\S* cannot be used safely: fairseq.*{name}.*missing"
    with pytest.raises(RuntimeError, match=message) as error:
        install()
    assert "EAT is tested with fairseq 0.12.2, ve-fairseq 0.12.3" in str(error.value)


@pytest.mark.parametrize("name", ["buffer_size", "persistent_workers", "reuse_dataloader"])
def test_an_attribute_that_has_another_name_is_an_error(monkeypatch, name):
    def init(self, dataset, num_ahead=0):
        self.dataset, self.num_ahead = dataset, num_ahead

    monkeypatch.setattr(f"{ITERATOR}.__init__", init)
    with pytest.raises(RuntimeError, match=rf"iterators:EpochBatchIterator\.{name} is missing"):
        install()


def test_other_parameters_are_an_error_and_nothing_is_replaced(monkeypatch):
    from fairseq import checkpoint_utils

    monkeypatch.setattr(checkpoint_utils, "verify_checkpoint_directory", lambda folder: None)
    before = checkpoint_utils.torch_persistent_save
    message = r"verify_checkpoint_directory\(save_dir\) takes \(folder\)"
    with pytest.raises(RuntimeError, match=message):
        install()
    assert checkpoint_utils.torch_persistent_save is before


def test_a_module_that_is_gone_is_a_problem():
    assert list(find_problems("fairseq.gone:name(a, b)")) == [
        "fairseq.gone:name(a, b) is missing (No module named 'fairseq.gone')"
    ]
    assert list(find_problems("fairseq.data.iterators:Gone.name"))
