from itertools import pairwise

import numpy as np
import pytest

from eat.features.windows import Window, frame_times, split_into_windows


@pytest.mark.parametrize("num_rows", [1, 63, 64])
def test_a_clip_up_to_a_window_stays_whole(num_rows):
    assert split_into_windows(num_rows, 64, 8) == [Window(0, num_rows, 0, num_rows)]


def test_the_last_window_is_as_long_as_the_others():
    assert split_into_windows(100, 64, 8) == [Window(0, 64, 0, 50), Window(36, 100, 50, 100)]
    assert split_into_windows(65, 64, 8) == [Window(0, 64, 0, 32), Window(1, 65, 32, 65)]


def test_windows_that_fit_exactly():
    windows = [Window(0, 4, 0, 4), Window(4, 8, 4, 8), Window(8, 12, 8, 12)]
    assert split_into_windows(12, 4, 0) == windows


@pytest.mark.parametrize("num_rows", [65, 120, 121, 1000, 22_500])
@pytest.mark.parametrize("window_rows, overlap_rows", [(64, 0), (64, 8), (64, 63), (1, 0)])
def test_every_row_is_kept_once_and_has_its_context(num_rows, window_rows, overlap_rows):
    windows = split_into_windows(num_rows, window_rows, overlap_rows)
    assert all(window.num_rows == window_rows for window in windows)
    assert windows[0].keep_start == windows[0].start == 0
    assert windows[-1].keep_stop == windows[-1].stop == num_rows
    for window, following in pairwise(windows):
        assert window.keep_stop == following.keep_start
        assert window.start < following.start
        assert window.stop - following.start >= overlap_rows
        assert window.stop - window.keep_stop >= overlap_rows // 2
        assert following.keep_start - following.start >= overlap_rows // 2


def test_times_are_the_centres_of_the_steps():
    assert np.allclose(frame_times(3), [0.08, 0.24, 0.40])
    assert len(frame_times(0)) == 0
