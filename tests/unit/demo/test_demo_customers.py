"""The data that ships with the package."""

import gzip
from collections import Counter
from pathlib import Path
from statistics import fmean

import pytest

from bandit import experiment_file
from bandit.demo.customers import (
    DATA,
    EXPERIMENT_ID,
    EXPERIMENTS,
    HISTORIES,
    VARIANTS,
    Customer,
    load,
    shuffled,
)


@pytest.fixture(scope="module")
def customers() -> list[Customer]:
    return load()


def test_the_data_is_small_enough_to_ship_and_says_where_it_is_from() -> None:
    assert DATA.stat().st_size <= 500_000
    assert (DATA.parent / "PROVENANCE.md").read_text().count("Hillstrom")


def test_every_customer_of_the_published_file_is_there_with_its_outcome(customers: list[Customer]) -> None:
    assert len(customers) == 64_000
    assert Counter(c.sent for c in customers) == {
        "no_email": 21_306,
        "mens_email": 21_307,
        "womens_email": 21_387,
    }
    visits = {v: fmean(c.visit for c in customers if c.sent == v) for v in VARIANTS.values()}
    assert visits == pytest.approx(
        {"no_email": 0.1062, "mens_email": 0.1828, "womens_email": 0.1514}, abs=5e-5
    )
    assert Counter(c.history for c in customers) == {"mens": 28_818, "womens": 28_734, "both": 6_448}
    assert set(HISTORIES) == {c.history for c in customers}


def test_the_first_customer_is_read_as_published(customers: list[Customer]) -> None:
    assert customers[0] == Customer(
        context={
            "recency": 10.0,
            "history": 142.44,
            "history_segment": "2) $100 - $200",
            "zip_code": "Surburban",
            "channel": "Phone",
            "mens": True,
            "womens": False,
            "newbie": False,
        },
        history="mens",
        sent="womens_email",
        visit=0.0,
    )


def test_a_seed_is_an_order_of_the_same_customers(customers: list[Customer]) -> None:
    few = customers[:500]
    assert shuffled(few, 1) == shuffled(few, 1)
    assert shuffled(few, 1) != shuffled(few, 2)
    assert sorted(map(repr, shuffled(few, 1))) == sorted(map(repr, few))


def test_a_file_with_other_columns_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.csv.gz"
    other.write_bytes(gzip.compress(b"recency,visit\n1,0\n"))
    with pytest.raises(ValueError, match=r"mens.*PROVENANCE"):
        load(other)


def test_the_experiment_of_the_demo_declares_every_signal_and_variant_of_the_data(
    customers: list[Customer],
) -> None:
    loaded = experiment_file.load(EXPERIMENTS)
    assert loaded.problems == ()
    (experiment,) = loaded.experiments
    assert experiment.id == EXPERIMENT_ID
    assert [variant.id for variant in experiment.variants] == list(VARIANTS.values())
    assert set(experiment.signals) == set(customers[0].context)


def test_what_does_not_count_is_neither_learned_nor_averaged() -> None:
    (experiment,) = experiment_file.load(EXPERIMENTS).experiments
    assert (experiment.reward.default, experiment.reward.learn) == ("none", "on_reward")
