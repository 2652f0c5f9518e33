"""HTML whose texts can't become markup, and charts that say in words what they show."""

import re
from xml.etree import ElementTree

import pytest

from bandit.replay.report import markup, plots
from bandit.replay.report.plots import Interval, Scale

EVIL = "<script>alert(1)</script>&\"'\x00\ud800"
SHOWN = "<script>alert(1)</script>&\"'\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}"


def parsed(markup):
    return ElementTree.fromstring(markup)  # noqa: S314  (our own markup, not a stranger's)


def test_a_text_comes_out_as_it_went_in_wherever_it_stands():
    made = markup.el("p", {"title": EVIL}, EVIL, markup.el("b", None, EVIL))
    assert "<script" not in made
    found = parsed(made)
    assert found.get("title") == found.text == found[0].text == SHOWN


def test_a_document_is_well_formed_forbids_fetches_and_has_no_script():
    text = markup.document(EVIL, markup.el("main", None, EVIL))
    doctype, _, rest = text.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    root = parsed(rest)
    assert root.find("head/title").text == SHOWN
    policy = root.find("head/meta[@http-equiv='Content-Security-Policy']").get("content")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    assert not re.search(r"https?:|url\(|@import|<script|<link|<img|src=", text.replace(policy, ""))


def test_colours_are_set_for_light_dark_and_print_alike():
    sets = re.findall(r":root \{(.*?)\}", markup.STYLE, re.DOTALL)
    names = [set(re.findall(r"--[a-z]+(?=:)", block)) for block in sets]
    assert len(names) == 3
    assert names[0] == names[1] == names[2]
    used = set(re.findall(r"var\((--[a-z]+)\)", markup.STYLE)) - {"--p"}
    assert used <= names[0]


def test_a_table_has_headers_and_a_box_to_scroll_in_by_keyboard():
    made = parsed(markup.table("Rows", ("name", "n"), [("a", "1"), (EVIL, "2")], right=("n",)))
    assert (made.get("tabindex"), made.get("role"), made.get("aria-label")) == ("0", "region", "Rows")
    assert [th.get("scope") for th in made.iter("th")] == ["col", "col", "row", "row"]
    assert [td.text for td in made.iter("td")] == ["1", "2"]
    assert [td.get("class") for td in made.iter("td")] == ["n", "n"]


CHARTS = {
    "forest": plots.forest(
        "c", "Values", [Interval(EVIL, 0.5, 0.4, 0.6), Interval("b", float("nan"), -1.0, float("inf"))]
    ),
    "forest without rows": plots.forest("c", "Values", []),
    "forest with a reference": plots.forest(
        "c", "Values", [Interval("a", 0.1, 0.1, 0.1, True)], reference=0.1, reference_label="all", banded=True
    ),
    "running": plots.running(
        "c", "Time", [1, 2, 3], [0.1, float("nan"), 0.2], [0, 0, 0], [1, 1, 1], ("a", EVIL), bounds=(0, 1)
    ),
    "running without points": plots.running("c", "Time", [], [], [], [], ("", ""), bounds=(0, 0)),
    "histogram": plots.histogram("c", "Weights", ["0", "1"], [0.5, 0.5], [0.0, 1.0]),
    "histogram without bins": plots.histogram("c", "Weights", [], [], []),
}


@pytest.mark.parametrize("name", CHARTS)
def test_a_chart_is_an_image_with_a_title_and_a_description(name):
    found = parsed(CHARTS[name])
    assert found.get("role") == "img"
    ids = found.get("aria-labelledby").split()
    assert ids == [found.find("title").get("id"), found.find("desc").get("id")] == ["c-title", "c-desc"]
    assert found.find("title").text
    assert "nan" not in CHARTS[name]
    assert "inf" not in CHARTS[name].replace("info", "")


def test_a_forest_says_every_figure_in_its_description():
    told = parsed(CHARTS["forest"]).find("desc").text
    assert told == f"{SHOWN}: 0.5, from 0.4 to 0.6; b: –, from -1 to –"


@pytest.mark.parametrize(
    ("values", "ticks"),
    [
        ([0.0, 1.0], (0.0, 0.25, 0.5, 0.75, 1.0)),
        ([0.1062, 0.1828], (0.1, 0.12, 0.14, 0.16, 0.18, 0.2)),
        ([-3.0, 12.0], (-5.0, 0.0, 5.0, 10.0, 15.0)),
        ([0.0, 0.0], (-0.5, -0.25, 0.0, 0.25, 0.5)),
        ([float("nan")], (-0.5, -0.25, 0.0, 0.25, 0.5)),
        ([1e15, 1e15], None),
    ],
)
def test_a_scale_has_round_ticks_around_all_that_it_holds(values, ticks):
    scale = Scale.over(values, 0.0, 100.0)
    if ticks is not None:
        assert scale.ticks == pytest.approx(ticks)
    assert len(scale.ticks) < 8
    finite = [value for value in values if value == value]
    assert all(scale.low <= value <= scale.high for value in finite)
    assert scale.at(scale.low) == 0.0
    assert scale.at(scale.high * 2 + 1) == 100.0


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.123456, "0.1235"), (-0.0, "0"), (12_345_678.9, "12,345,679"), (1e-9, "1e-09"), (float("nan"), "–")],
)
def test_a_figure_has_four_digits(value, text):
    assert plots.figure_text(value) == text
