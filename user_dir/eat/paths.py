"""Where the hydra configs and the fairseq door are: in the checkout, or inside a wheel."""

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
_SHARE = _PACKAGE / "share"  # only a wheel has it, see setup.py


def config_dir() -> Path:
    """Folder to give to `fairseq-hydra-train --config-dir`, or a FileNotFoundError."""
    checkout = _PACKAGE.parents[1] / "config"
    return _folder_with("pretrain_base.yaml", _SHARE / "config", checkout)


def user_dir() -> Path:
    """Folder to give to fairseq as `common.user_dir`, or a FileNotFoundError."""
    return _folder_with("__init__.py", _SHARE / "user_dir", _PACKAGE.parent)


def _folder_with(file_name: str, *candidates: Path) -> Path:
    for folder in candidates:
        if (folder / file_name).is_file():
            return folder
    places = " or ".join(str(folder / file_name) for folder in candidates)
    raise FileNotFoundError(
        f"expected {places}, found neither: this copy of eat was taken out of its checkout or"
        " installed incompletely; run `pip install .` in a checkout of EAT"
    )
