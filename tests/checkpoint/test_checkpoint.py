import torch

from eat.checkpoint.checkpoint import to_our_names, to_their_names

PREFIXES = {"their.table": "positions", "their.blocks.": "blocks."}


def test_names_and_the_shape_of_the_position_table():
    theirs = {
        "their.table": torch.arange(12.0).view(1, 6, 2),
        "their.blocks.0.weight": torch.ones(2),
        "other.weight": torch.zeros(1),
        "their.blocks.1.note": "no tensor",
    }
    ours, rest = to_our_names(theirs, PREFIXES)
    assert {name: tuple(value.shape) for name, value in ours.items()} == {
        "positions": (6, 2),
        "blocks.0.weight": (2,),
    }
    assert list(rest) == ["other.weight", "their.blocks.1.note"]
    back = to_their_names(dict(reversed(ours.items())), PREFIXES)
    assert list(back) == ["their.table", "their.blocks.0.weight"]
    assert torch.equal(back["their.table"], theirs["their.table"])
