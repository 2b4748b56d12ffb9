"""What the tests of `eat report` share."""

import shutil
from functools import partial
from html.parser import HTMLParser

import pytest

import eat.figures.style
from eat.commands.main import main


class Page(HTMLParser):
    """A page as its text, its tables, its links and its pictures."""

    def __init__(self, source):
        super().__init__()
        self.source = source
        self.words, self.rows, self.links, self.ids, self.pictures = [], [], [], [], {}
        self.tags = set()
        self._skips = False
        self.feed(source)

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.add(tag)
        self._skips = tag == "style"
        self.links += [attrs[name] for name in ("href", "src", "action") if name in attrs]
        self.ids += [attrs["id"]] if "id" in attrs else []
        if tag == "img":
            self.pictures[attrs["alt"]] = attrs["src"]
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        if self._skips:
            return
        self.words.append(data)
        if self.rows and self.rows[-1] and self.lasttag in ("td", "th", "code"):
            self.rows[-1][-1] += data.strip()

    def row(self, name):
        """The cells after the one that says `name`."""
        return next(row[1:] for row in self.rows if row and row[0] == name)


def run_report(out, *arguments, status=0):
    """Run `eat report`; its page and the figures in it, None if another status was expected."""
    render_figure = eat.figures.style.render_figure
    drawn = []

    def render_and_keep(figure, kind):
        drawn.append(figure)
        return render_figure(figure, kind)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(eat.figures.style, "render_figure", render_and_keep)
        assert main(["report", *map(str, arguments), "--out", str(out)]) == status
    return (Page(out.read_text(encoding="utf-8")), drawn) if status == 0 else None


@pytest.fixture
def report(tmp_path):
    """`report(*arguments)` runs `eat report`, see `run_report`; the page is `page.html`."""
    return partial(run_report, tmp_path / "page.html")


@pytest.fixture(scope="module")
def whole(resumed_run, tmp_path_factory):
    """The report of a whole run: (its folder, its page, the figures)."""
    folder = tmp_path_factory.mktemp("report")
    run_folder = shutil.copytree(resumed_run[0] / "run", folder / "run <1> & co")
    return run_folder, *run_report(folder / "page.html", run_folder)
