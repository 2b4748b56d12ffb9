from collections import Counter

import numpy as np
import pytest

from eat.evaluation import ProbeSettings, make_folds
from eat.evaluation.folds import Clips, choose_folds, find_groups, read_clips

NAMES = ["seven/anna_1.wav", "seven/ben_1.wav", "eight/anna_2.wav"]
CLIPS = Clips("/audio", [], NAMES, NAMES, None, None)


def one_hot(classes):
    return np.eye(max(classes) + 1, dtype=np.uint8)[classes]


@pytest.mark.parametrize(
    ("source", "groups"),
    [
        ("parent", ["seven", "seven", "eight"]),
        (r"regex:/(\w+)_", ["anna", "ben", "anna"]),
        (r"regex:\d", ["1", "1", "2"]),
        (r"regex:(\w)\w*/(\w)", ["s\ta", "s\tb", "e\ta"]),
    ],
)
def test_groups_come_from_paths(source, groups):
    assert find_groups(source, CLIPS) == groups


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("folder", "found 'folder', expected parent, regex:PATTERN or csv"),
        ("regex:", "found 'regex:', expected parent"),
        ("regex:(", "found '\\(', no regular expression"),
        ("regex:ben", "found no match of 'ben' in 'seven/anna_1.wav', expected one"),
    ],
)
def test_bad_groups_are_errors(source, message):
    with pytest.raises(ValueError, match=message):
        find_groups(source, CLIPS)


def test_groups_are_on_one_side_of_a_test_split_too():
    clips = CLIPS._replace(splits=np.array(["train", "valid", "valid"]), targets=np.eye(3))
    with pytest.raises(ValueError, match="groups: found 'anna' in valid and in what is learnt"):
        choose_folds(clips, ProbeSettings(test="valid", groups_from=r"regex:/(\w+)_"))
    ((train, test),) = choose_folds(clips, ProbeSettings(test="valid", groups_from="regex:/(.*)"))
    assert (train.tolist(), test.tolist()) == ([0], [1, 2])


def test_a_split_that_is_named_twice_counts_once(labelled):
    expected, found = (read_clips(str(labelled), ["valid"] * number) for number in (1, 2))
    assert found.names == expected.names


@pytest.mark.filterwarnings("error")
def test_every_clip_is_tested_once_and_never_learnt_from():
    classes = np.repeat([0, 1, 2], [80, 19, 1])  # a class may have fewer clips than folds
    folds = make_folds(one_hot(classes), None, 4, seed=1)
    assert sorted(np.concatenate([test for _, test in folds])) == list(range(100))
    for train, test in folds:
        assert sorted([*train, *test]) == list(range(100))
        assert len(test) == 25 and Counter(classes[test])[0] == 20  # its share of every class
    first = [make_folds(one_hot(classes), None, 4, seed)[0].test.tolist() for seed in (1, 1, 2)]
    assert first[0] == first[1] != first[2]


@pytest.mark.parametrize("multi_label", [False, True])
def test_groups_stay_together(multi_label):
    generator = np.random.default_rng(0)
    groups = generator.choice(list("abcdefgh"), 200)
    targets = one_hot(generator.integers(0, 3, 200))
    if multi_label:
        targets[::3] = 1
    folds = make_folds(targets, groups, 4, seed=1)
    assert len(folds) == 4 and sum(len(test) for _, test in folds) == 200
    for train, test in folds:
        assert not set(groups[train]) & set(groups[test])


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        (None, "found 7 for 4 clips of the most frequent class, expected 2 to 4"),
        (list("aabbcc"), "found 7 for 3 groups, expected 2 to 3"),
    ],
)
def test_more_folds_than_there_can_be_are_an_error(groups, message):
    with pytest.raises(ValueError, match=message):
        make_folds(one_hot([0, 0, 0, 0, 1, 1]), groups, 7, seed=1)


def test_one_clip_of_a_class_makes_no_folds():
    message = "found 1 clips of the most frequent class, expected 2 or more, and --folds at most"
    with pytest.raises(ValueError, match=message):
        make_folds(one_hot([0, 1]), None, 5, seed=1)
