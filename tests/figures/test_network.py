"""What clips are called in a map."""

import pytest

from eat.figures.network import name_folders


@pytest.mark.parametrize(
    "paths, expected",
    [
        (["a.wav", "b.wav"], [".", "."]),
        (["birds/wren/1.wav", "birds/wren/2.wav"], ["birds/wren", "birds/wren"]),
        (["x/birds/wren/1.wav", "x/birds/owl/2.wav"], ["wren", "owl"]),
        (["x/birds/1.wav", "x/birds/owl/2.wav"], [".", "owl"]),
        (["1.wav", "birds/owl/2.wav"], [".", "birds/owl"]),
    ],
)
def test_folders_are_named_without_what_all_have_in_common(paths, expected):
    assert name_folders(paths) == expected
