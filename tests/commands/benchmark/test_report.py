import argparse
import json

from eat.commands.benchmark.report import as_table, flatten, report

COLUMNS = {"name": "case", "ms": "ms", "share": "of peak", "wait": "data wait"}
CASES = [
    {"name": "a", "ms": 1234.5, "share": 0.35},
    {"name": "b", "ms": 1.5, "share": 0.0712, "other": 3},
]


def test_a_table_shows_the_columns_that_some_case_has():
    assert as_table(CASES, COLUMNS) == [
        "case    ms  of peak",
        "   a  1234    0.350",
        "   b  1.50   0.0712",
    ]


def test_a_value_that_a_case_lacks_is_blank():
    assert as_table([*CASES, {"wait": 7}], COLUMNS)[1:] == [
        "   a  1234    0.350           ",
        "   b  1.50   0.0712           ",
        "                             7",
    ]


def test_nested_results_become_flat():
    assert flatten({"a": {"b": 1, "c": {"d": 2}}, "e": 3}) == {"a_b": 1, "a_c_d": 2, "e": 3}


def test_a_file_holds_the_json_beside_the_table(tmp_path, capsys):
    found = {"machine": {"cores": 2}, "cases": CASES}
    report(argparse.Namespace(json=False, out=str(tmp_path / "speed.json")), found, COLUMNS)
    assert json.loads((tmp_path / "speed.json").read_text()) == found
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["cores", "2"]
    assert lines[-3:] == as_table(CASES, COLUMNS)


def test_json_alone(capsys):
    found = {"machine": {"cores": 2}, "cases": CASES}
    report(argparse.Namespace(json=True, out=None), found, COLUMNS)
    assert json.loads(capsys.readouterr().out) == found
