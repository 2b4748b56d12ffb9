"""Packaging of EAT: the package `eat`, the hydra configs and the fairseq door.

Sources live in `user_dir/eat` (a src layout). Two things that users of an installed wheel need lie
outside the package, where fairseq and the README want them: `config/` and `user_dir/__init__.py`.
They are copied to `eat/share/` in the build tree only, never in the sources; `eat.paths` finds
them in either place.
"""

import re
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent

# Which fairseq imports where. fairseq 0.12.2 itself does so up to Python 3.10 only; ve-fairseq is
# its main branch repaired for later ones, as wheels for one platform; fairseq-fixed is the same
# repair as sources, which pip compiles (minutes). PEP 508 has no "not": both cases are spelled out.
HAS_VE_FAIRSEQ = (
    "sys_platform == 'linux' and platform_machine == 'x86_64'"
    " and platform_python_implementation == 'CPython'"
    " and python_version >= '3.11' and python_version < '3.13'"
)
LACKS_VE_FAIRSEQ = (
    "python_version >= '3.11' and (sys_platform != 'linux' or platform_machine != 'x86_64'"
    " or platform_python_implementation != 'CPython' or python_version >= '3.13')"
)

FIGURES = ["matplotlib>=3.7", "jinja2>=3.0", "scikit-learn>=1.1"]  # eat plot, report, probe
HDF5 = ["h5py>=3.5"]  # packs in this format
SLURM = ["hydra-submitit-launcher>=1.2; python_version >= '3.11'"]  # config/run_config/slurm.yaml
# Metrics of events. sed_scores_eval 0.0.4 writes into arrays that pandas 3 makes read-only, and
# sed_eval 0.2.1 needs pkg_resources, which setuptools 81 announced to drop.
EVENTS = ["sed_eval>=0.2.1", "sed_scores_eval>=0.0.4", "pandas<3", "setuptools<81"]
HUB = ["huggingface_hub>=0.25"]  # checkpoints by name


def read_version() -> str:
    """`eat.__version__`, read as text: importing `eat` would need torch at build time."""
    text = (ROOT / "user_dir" / "eat" / "__init__.py").read_text(encoding="utf-8")
    return re.search(r'^__version__ = "(.+)"$', text, re.MULTILINE)[1]


def shared_files():
    """Pairs (file in the repository, its path inside the installed package)."""
    for config in sorted((ROOT / "config").rglob("*.yaml")):
        yield config, Path("share", config.relative_to(ROOT))
    yield ROOT / "user_dir" / "__init__.py", Path("share", "user_dir", "__init__.py")


class BuildWithSharedFiles(build_py):
    """Also copy the configs and the fairseq door, except for an editable install."""

    def run(self):
        super().run()
        if self.editable_mode:  # the checkout itself is what gets imported, nothing is copied
            return
        for source, target in shared_files():
            destination = Path(self.build_lib, "eat", target)
            self.mkpath(str(destination.parent))
            self.copy_file(str(source), str(destination))


setup(
    name="eat-fairseq",
    version=read_version(),
    description="Efficient Audio Transformer (EAT): pre-training with fairseq, features without it",
    long_description=(ROOT / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="EAT-fairseq contributors",
    license="MIT",
    license_files=["LICENSE"],
    # Not find_packages("."): user_dir/ has an __init__.py for fairseq but is no package of ours.
    package_dir={"": "user_dir"},
    packages=find_packages(where="user_dir"),
    package_data={"": ["*.html", "*.md"]},  # templates
    cmdclass={"build_py": BuildWithSharedFiles},
    zip_safe=False,
    python_requires=">=3.10",
    # The lower bounds are the oldest with which the tests that need no fairseq passed (all of them
    # together, on Python 3.10). torch before 2.3 also needs numpy before 2.
    install_requires=[
        "torch>=2.1",
        "numpy>=1.22",
        "soundfile>=0.12",
        "soxr>=0.3.3",
        "safetensors>=0.4",
        "tqdm>=4.60",
    ],
    extras_require={
        "train": [
            "fairseq==0.12.2; python_version < '3.11'",
            f"ve-fairseq==0.12.3; {HAS_VE_FAIRSEQ}",
            f"fairseq-fixed==0.12.3.1; {LACKS_VE_FAIRSEQ}",
            "scikit-learn>=1.1",
            "tensorboard>=2.10",
        ],
        "figures": FIGURES,
        "onnx": ["onnx", "onnxscript", "onnxruntime>=1.18"],  # for eat convert --to onnx
        "hdf5": HDF5,
        "slurm": SLURM,
        "events": EVENTS,
        "hub": HUB,
        "dev": [
            *FIGURES,
            *HDF5,
            *SLURM,
            *HUB,
            "pytest>=7",
            "pytest-xdist>=3",
            "ruff",
            "hypothesis>=6",
            "build>=1",
        ],
    },
    entry_points={"console_scripts": ["eat=eat.commands.main:main"]},
    classifiers=[
        "Intended Audience :: Science/Research",
        "Operating System :: POSIX :: Linux",
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Topic :: Multimedia :: Sound/Audio :: Analysis",
        "Topic :: Scientific/Engineering :: Artificial Intelligence",
    ],
)
