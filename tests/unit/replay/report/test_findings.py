"""The page: what stands on it, in which order, and that nothing from a log can become markup."""

import json
import re
import shutil
import subprocess
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest

from bandit.core.experiment import Experiment
from bandit.replay.diagnostics import Diagnostic, Diagnostics
from bandit.replay.errors import BadPolicy
from bandit.replay.estimators import Estimate
from bandit.replay.judging import Judgement
from bandit.replay.report import Findings, Judged, collect, default_policies, render, series
from bandit.replay.report import findings as findings_module
from bandit.replay.report.exposure import Breakdown, Segment
from bandit.replay.report.series import Running, Served, Weights
from bandit.replay.report.signals import Mattering, Matters
from bandit.replay.runner import Options
from bandit.replay.sources import open_source

EVIL = "<script>alert('x')</script>"
LONG = "long_" * 40
CHROMIUM = shutil.which("chromium")


def estimate(value):
    return Estimate(value, value - 0.1, value + 0.1, 1_000, 400.0, 8.0)


def judged(policy, reason=""):
    found = {"snips": estimate(0.3), "ips": estimate(0.31)}
    checks = (
        Diagnostic(
            "effective_sample_size", 40.0 if reason else 400.0, 100.0, "fail" if reason else "ok", EVIL
        ),
        Diagnostic("sample_ratio", None, 0.001, "unknown", "There is one arm only."),
    )
    return Judged(
        Judgement(policy, found, None if reason else found["snips"], "snips", reason, Diagnostics(checks)),
        estimate(0.2),
        policy == "squarecb",
        Running((500, 1_000), (1_700_000_000_000_000, 1_700_000_500_000_000), (estimate(0.2), estimate(0.3))),
        Weights(1_000, (0.5,) * 11, (0.25,) * 11, 400.0, 8.0, 0.01, 1.0),
    )


@pytest.fixture
def findings(define):
    experiment = define(id=EVIL, owner=EVIL, hypothesis=EVIL, signals={EVIL: {"type": "category"}})
    return Findings(
        log_name=EVIL,
        kind="dsjson",
        experiment=experiment,
        options=Options(segment=EVIL),
        logged=estimate(0.2),
        judged=(judged("uniform"), judged(f"fixed:{EVIL}"), judged(LONG), judged("squarecb")),
        segments={EVIL: (judged("uniform").judgement, judged("squarecb", EVIL).judgement)},
        segment_logged={EVIL: estimate(0.2)},
        served=(
            Served(EVIL, 700, 1_000, 0.7, 0.72, 0.01, estimate(0.2)),
            Served(LONG, 300, 1_000, 0.3, 0.28, 0.01, estimate(0.2)),
            Served("never", 0, 1_000, 0.0, 0.0, 0.0, None),
        ),
        calibration=(Served(EVIL, 700, 1_000, 0.7, 0.72, 0.01, None),),
        variants=40,
        breakdowns=(Breakdown(EVIL, (Segment(EVIL, 10, {EVIL: 7, LONG: 3}), Segment(LONG, 4, {LONG: 4}))),),
        decisions=14,
        first_us=1_700_000_000_000_000,
        last_us=1 << 62,
        counts={"joined": 14, "unrewarded": 3, "control": 5, "treatment": 9},
        first_trouble={EVIL: (3, EVIL)},
        matters=Matters(
            (
                Mattering(EVIL, "matters", 0.01, EVIL, (EVIL, LONG), 14, 0.1),
                Mattering(LONG, "no_sign", 1.0, None, (LONG, EVIL), 14, 0.1),
                Mattering("few", "too_few_rows", None, None, None, 14),
            ),
            rows=14,
        ),
    )


def tree(page):
    doctype, _, rest = page.partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)  # noqa: S314  (our own markup, not a stranger's)


def texts(element):
    return " ".join("".join(element.itertext()).split())


def test_nothing_from_a_log_becomes_markup(findings):
    page = render(findings, "0.1")
    root = tree(page)
    assert "<script" not in page
    assert {element.tag for element in root.iter()} & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "a",
    } == set()
    assert texts(root).count(EVIL) > 12
    for element in root.iter():
        assert not any(name.startswith("on") for name in element.attrib)


def test_the_page_fetches_nothing(findings):
    page = render(findings, "0.1")
    assert not re.search(r"https?:|//[a-z]|url\(|@import|src=|href=", page)


def test_every_chart_has_words_of_its_own(findings):
    root = tree(render(findings, "0.1"))
    charts = list(root.iter("svg"))
    assert len(charts) == 3 + 4 + 4  # values, calibration, rewards; over time and weights of each policy
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids)) == 2 * len(charts)
    for chart in charts:
        assert chart.get("role") == "img"
        assert (
            chart.get("aria-labelledby") == f"{chart.find('title').get('id')} {chart.find('desc').get('id')}"
        )
        assert texts(chart.find("title"))
        assert texts(chart.find("desc"))


def test_the_same_findings_give_the_same_bytes(findings):
    assert render(findings, "0.1") == render(findings, "0.1")


def test_headings_go_down_one_level_at_a_time(findings):
    levels = [
        int(element.tag[1])
        for element in tree(render(findings, "0.1")).iter()
        if re.fullmatch("h[1-6]", element.tag)
    ]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))


def test_a_missing_headline_is_told_first_and_with_its_reason(findings):
    sound = [texts(h2) for h2 in tree(render(findings, "0.1")).iter("h2")]
    assert sound.index("Value of each policy") < sound.index("What this log can't answer, and why")
    refused = replace(
        findings, judged=(judged("uniform", "The sample is too small: collect more."),), segments={}
    )
    root = tree(render(refused, "0.1"))
    headings = [texts(h2) for h2 in root.iter("h2")]
    assert headings.index("What this log can't answer, and why") < headings.index("Value of each policy")
    alarm = next(section for section in root.iter("section") if section.get("class") == "alarm")
    assert "uniform: no headline. The sample is too small: collect more." in texts(alarm)
    assert "3 decisions closed without a reward" in texts(alarm)


def test_a_page_without_anything_but_a_mean_is_a_page(findings):
    bare = replace(
        findings,
        judged=(
            Judged(
                Judgement("uniform", {}, None, "snips", "No propensities.", Diagnostics(())),
                estimate(0.2),
                False,
                Running((), (), ()),
                Weights(0, (), (), 0.0, 0.0, 0.0, 0.0),
            ),
        ),
        segments={},
        served=(Served("a", 5, 0, 0.0, None, 0.0, None),),
        calibration=(Served("a", 5, 0, 0.0, None, 0.0, None),),
        breakdowns=(),
        first_us=None,
        last_us=None,
        counts={},
        first_trouble={},
    )
    assert "No propensities." in texts(tree(render(bare, "0.1")))


@pytest.fixture
def played(folder, shop):
    """A data folder with enough decisions for headlines."""
    folder.define(shop())
    folder.play(shop(), 600)
    folder.pass_seconds(3600)
    return folder


def collected(played, policies, **options):
    with open_source(played.path) as source:
        return collect(source, "data", "front-page", policies, Options(**options), lambda *told: None)


def test_signals_are_told_of_once_however_often_the_log_passes(played):
    found = collected(played, ["squarecb", "uniform"])
    # One in two of the 600 decisions has a reward.
    assert found.matters.rows == 300
    assert {one.signal: one.rows for one in found.matters.signals} == {"age": 300, "channel": 300}
    assert [one["signal"] for one in found.to_json()["signals"]] == [
        one.signal for one in found.matters.signals
    ]
    assert set(found.to_json()["signals"][0]) >= {"signal", "verdict", "p", "value", "rows"}


def test_fixed_and_learning_policies_are_judged_on_the_same_rows(played):
    found = collected(played, ["squarecb", "uniform", "fixed:a", "fixed:b", "fixed:c", "epsilon_greedy"])
    assert [(one.judgement.policy, one.learning) for one in found.judged] == [
        ("uniform", False),
        ("fixed:a", False),
        ("fixed:b", False),
        ("fixed:c", False),
        ("squarecb", True),
        ("epsilon_greedy", True),
    ]
    assert {one.weights.rows for one in found.judged} == {found.logged.n}
    assert found.decisions == 600
    assert [breakdown.signal for breakdown in found.breakdowns] == ["channel"]
    assert sum(row.rows for row in found.served) == found.logged.n


def test_calibration_shows_variants_by_what_was_expected_not_by_what_chance_favoured(monkeypatch, played):
    monkeypatch.setattr(findings_module, "VARIANTS_SHOWN", 1)
    monkeypatch.setattr(
        series,
        "served",
        lambda logged: [
            Served("a", 300, 600, 0.5, 0.3, 0.01, None),
            Served("b", 200, 600, 0.3, 0.5, 0.01, None),
        ],
    )
    found = collected(played, ["uniform"])
    assert [row.variant_id for row in found.served] == ["a"]
    assert [row.variant_id for row in found.calibration] == ["b"]
    assert found.variants == 2


def test_the_last_look_of_a_running_estimate_is_the_estimate(played):
    for one in collected(played, ["fixed:b", "squarecb"]).judged:
        assert one.running.estimates[-1] == one.judgement.estimates["snips"]
        assert len(one.running.rows) == len(one.running.at_us) == 24
        assert list(one.running.at_us) == sorted(one.running.at_us)


def test_a_variant_that_never_earned_anything_has_an_interval_that_says_how_often_it_was_served(tmp_path):
    """Half of 1,000 decisions served b, which earned nothing; a earned in one of five."""
    lines = []
    for n in range(1_000):
        served, other = (1, 2) if n % 2 else (2, 1)
        body = {
            "_label_cost": -float(n % 10 == 0),
            "_label_probability": 0.5,
            "_label_Action": served,
            "_labelIndex": served - 1,
            "o": [{"v": float(n % 10 == 0), "EventId": f"e{n}"}],
            "Timestamp": f"2026-01-01T00:{n // 60:02d}:{n % 60:02d}Z",
            "Version": "1",
            "EventId": f"e{n}",
            "a": [served, other],
            "c": {"_multi": [{"id": "b"}, {"id": "a"}]},
            "p": [0.5, 0.5],
            "VWState": {"m": "m"},
        }
        lines.append(json.dumps(body))
    path = tmp_path / "log.dsjson"
    path.write_text("".join(f"{one}\n" for one in lines))
    with open_source(path) as source:
        (name,) = source.experiments()
        found = collect(source, "log", name, ["uniform"], Options(), lambda *told: None)
    means = {row.variant_id: row.mean for row in found.served}
    assert (means["b"].low, means["b"].high) == pytest.approx((0.0, 1.0 - 0.025 ** (1 / 500)))
    assert means["a"].low < 0.2 < means["a"].high


def test_the_same_log_and_options_give_the_same_bytes(played):
    first, again = (
        render(collected(played, ["uniform", "squarecb"], segment="channel"), "0.1") for _ in range(2)
    )
    assert first == again
    tree(first)


def test_by_default_uniform_and_the_first_variants_are_judged(define):
    many = define(variants=[{"id": f"v{n}"} for n in range(40)], baseline="v0")
    assert default_policies(many) == [
        "uniform",
        "fixed:v0",
        "fixed:v1",
        "fixed:v2",
        "fixed:v3",
        "fixed:v4",
    ]
    assert default_policies(
        Experiment.model_validate({**many.model_dump(by_alias=True), "variants": (), "baseline": ""})
    ) == ["uniform"]


def test_a_page_has_a_limit_of_policies(played):
    with pytest.raises(BadPolicy, match="at most 12, or use banditd sweep"):
        collected(played, [f"squarecb:gamma_scale={n}" for n in range(13)])


@pytest.mark.skipif(CHROMIUM is None, reason="needs a browser: chromium")
@pytest.mark.parametrize(
    ("width", "medium"), [(390, "print"), (1280, "print"), pytest.param(700, "all", id="A4 on paper")]
)
def test_in_a_browser_the_page_never_scrolls_sideways(findings, tmp_path, width, medium):
    page = tmp_path / "report.html"
    page.write_text(render(findings, "0.1").replace("@media print", f"@media {medium}"))
    frame = tmp_path / "frame.html"
    # A window can't be as narrow as a phone; a frame can.
    frame.write_text(
        f"<iframe id=f src=report.html style='width:{width}px;height:900px;border:0'></iframe><p id=p></p>"
        "<script>f.onload = () => {"
        "p.textContent = 'width=' + f.contentDocument.documentElement.scrollWidth }</script>"
    )
    flags = [
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
        *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
        *("--hide-scrollbars", "--allow-file-access-from-files", f"--user-data-dir={tmp_path / 'profile'}"),
    ]
    ran = subprocess.run(
        [CHROMIUM, *flags, "--window-size=1400,1000", "--dump-dom", frame.as_uri()],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert f"width={width}<" in ran.stdout, ran.stderr[-2000:]
