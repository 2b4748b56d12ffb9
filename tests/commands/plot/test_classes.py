"""`eat plot classes`: the table's classes."""


def test_the_classes_of_a_table(plot, tmp_path, capsys):
    (tmp_path / "mine.csv").write_text(
        "label,average_precision,num_positives\nRain,0.25,3\nWind,0.75,9\n"
    )
    status, (figure,) = plot("classes", "mine.csv")
    assert status == 0
    assert figure.get_suptitle() == "mine.csv: mean average precision 0.500 over 2 classes"
    assert [bar.get_width() for bar in figure.axes[0].patches] == [0.75, 0.25]
    assert capsys.readouterr().out.split() == ["classes.png", "classes.svg"]
    assert plot("classes", "none.csv") == (1, [])
