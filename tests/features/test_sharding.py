import re

import pytest

from eat.features import Shard

VARIABLES = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]


@pytest.mark.parametrize("count", [1, 4, 7, 200])
def test_every_name_is_in_one_shard_of_about_equal_size(count):
    names = [f"birds/{index}" for index in range(1000)] + ["\udcff", "é"]
    holders = [[n for n in names if Shard(i, count).holds(n)] for i in range(1, count + 1)]
    assert sorted(name for shard in holders for name in shard) == sorted(names)
    assert max(map(len, holders)) < 1.25 * len(names) / count + 10


def test_a_name_stays_in_its_shard():
    # Features that one version has made are not made by the shards of another.
    assert [n for n in range(20) if Shard(2, 4).holds(f"clip {n}")] == [6, 8, 12, 16]


@pytest.mark.parametrize(
    "values, shard",
    [
        ((1, 1, 4, 4), "1/4"),
        ((0, 0, 3, 4), "1/4"),
        ((15, 5, 20, 4), "3/4"),
        ((7, 7, 7, 1), "1/1"),
        ((99, 0, 99, 100), "100/100"),
    ],
)
def test_a_task_of_a_slurm_array(monkeypatch, values, shard):
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, str(value))
    assert str(Shard.parse("auto")) == shard


@pytest.mark.parametrize("values", [(2, 1, 5, 3), (2, 1, 4, 3), (1, 1, 4, ""), ("", "", "", "")])
def test_an_array_without_even_steps_and_no_array(monkeypatch, values):
    for name, value in zip(VARIABLES, values, strict=True):
        monkeypatch.setenv(name, str(value))
    with pytest.raises(ValueError, match=f"auto: found SLURM_ARRAY_TASK_ID={values[0]} SLURM_ARR"):
        Shard.parse("auto")


@pytest.mark.parametrize(
    "text, message",
    [
        ("0/4", "shard: found 0/4, expected I/N with I from 1 to N"),
        ("5/4", "shard: found 5/4, expected I/N with I from 1 to N"),
        ("1/0", "shard: found 1/0, expected I/N with I from 1 to N"),
        ("2", "found '2', expected I/N such as 2/4, or auto"),
        ("-1/4", "found '-1/4', expected I/N such as 2/4, or auto"),
        ("", "found '', expected I/N such as 2/4, or auto"),
    ],
)
def test_what_is_no_shard(text, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        Shard.parse(text)
