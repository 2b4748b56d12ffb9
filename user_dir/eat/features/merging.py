"""The features of a clip, put together from those of its windows."""

from typing import List, NamedTuple, Optional

from torch import Tensor

from .windows import Window


class TokenLayout(NamedTuple):
    """What the tokens of a window are.

    Attributes:
        num_summary: tokens at the start that stand for the whole window: 1 (CLS) or 0.
        tokens_per_row: tokens of each row of patches after them, in time order.
    """

    num_summary: int
    tokens_per_row: int


class ClipTokens:
    """Collects the tokens of a clip's windows.

    The tokens of a row are those of the window that keeps it. Summary tokens are averaged over the
    windows, each weighted by the duration that it keeps.
    """

    def __init__(self, windows: List[Window], layout: TokenLayout) -> None:
        self._num_rows = windows[-1].stop
        self._num_missing = len(windows)
        self._layout = layout
        self._tokens: Optional[Tensor] = None

    @property
    def is_complete(self) -> bool:
        return self._num_missing == 0

    def add(self, window: Window, tokens: Tensor) -> None:
        """Add a window.

        Args:
            window: one of the clip.
            tokens: (..., N, D), its tokens; further ones (padding) are ignored.
        """
        num_summary, per_row = self._layout
        if self._tokens is None:
            num_tokens = num_summary + per_row * self._num_rows
            self._tokens = tokens.new_zeros(*tokens.shape[:-2], num_tokens, tokens.shape[-1])
        share = (window.keep_stop - window.keep_start) / self._num_rows
        self._tokens[..., :num_summary, :] += share * tokens[..., :num_summary, :]
        kept = slice(
            num_summary + per_row * (window.keep_start - window.start),
            num_summary + per_row * (window.keep_stop - window.start),
        )
        place = slice(
            num_summary + per_row * window.keep_start, num_summary + per_row * window.keep_stop
        )
        self._tokens[..., place, :] = tokens[..., kept, :]
        self._num_missing -= 1

    def result(self) -> Tensor:
        """(..., N, D) of the whole clip; (..., D) if there is nothing but the summary."""
        assert self._tokens is not None
        return self._tokens if self._layout.tokens_per_row else self._tokens.squeeze(-2)
