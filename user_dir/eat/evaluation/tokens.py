"""The tokens of many clips, for probes that read all of them again and again."""

import tempfile
from typing import Any, Dict, List, Sequence, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_MAX_BYTES = 1 << 30  # of tokens in memory; what is beyond goes to a file


class TokenStore:
    """Tokens of clips, each of length 1 (L2 norm), in half precision.

    Those beyond `max_bytes` are in a file in the folder for temporary files (TMPDIR). It has no
    name, so that it disappears with the process, however that ends; on Windows when it is closed.
    """

    def __init__(self, layers: Sequence[Union[int, str]], max_bytes: int = _MAX_BYTES) -> None:
        self.layers = [*layers]
        self._bytes_left = max_bytes
        self._in_memory: Dict[int, np.ndarray] = {}
        self._in_file: Dict[int, Tuple[int, Tuple[int, ...]]] = {}  # offset and shape
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - `__exit__` closes it

    def __enter__(self) -> "TokenStore":
        return self

    def __exit__(self, *_: Any) -> None:
        self._in_memory.clear()
        self._file.close()

    def add(self, clip: int, tokens: Tensor) -> None:
        """Keep the tokens (layers, 1+L, D) of a clip; an OSError says that there is no room."""
        values = F.normalize(tokens, dim=-1).numpy().astype(np.float16)
        if values.nbytes <= self._bytes_left:
            self._bytes_left -= values.nbytes
            self._in_memory[clip] = values
            return
        try:
            self._in_file[clip] = self._file.tell(), values.shape
            self._file.write(values)
            self._file.flush()
        except OSError as error:
            raise OSError(
                f"{tempfile.gettempdir()}: {error.strerror} after the tokens of"
                f" {len(self._in_file)} clips, expected room for all; use fewer clips (--max-clips)"
                " or another folder (the environment variable TMPDIR)"
            ) from error

    def shape(self, clip: int) -> Tuple[int, ...]:
        """The shape (layers, 1+L, D) of a clip's tokens."""
        return self._in_memory[clip].shape if clip in self._in_memory else self._in_file[clip][1]

    def read(
        self, clips: Sequence[int], layers: Sequence[Union[int, str]]
    ) -> Tuple[Tensor, Tensor]:
        """The tokens (layers, B, 1+L, D) of clips, float16, and where they are no padding (B, 1+L).

        Clips are padded to the longest of them by zeros.
        """
        lengths = torch.tensor([self.shape(clip)[1] for clip in clips])
        rows: List[int] = [self.layers.index(layer) for layer in layers]
        width = self.shape(clips[0])[2]
        tokens = np.zeros((len(rows), len(clips), int(lengths.max()), width), np.float16)
        for place, clip in enumerate(clips):
            values = self._in_memory.get(clip)
            if values is None:  # only the rows that are needed are read
                offset, shape = self._in_file[clip]
                values = np.memmap(self._file, np.float16, "r", offset, shape)
            for number, row in enumerate(rows):
                tokens[number, place, : lengths[place]] = values[row]
        return torch.from_numpy(tokens), torch.arange(tokens.shape[2]) < lengths[:, None]
