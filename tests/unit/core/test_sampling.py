import pytest

from bandit.core.sampling import Uniform, draw

SALT = bytes(range(16))


def test_the_hash_never_changes_because_arms_and_replays_depend_on_it():
    assert Uniform("draw", SALT, "front-page")("d1") == 0.9258690253211145
    assert Uniform("arm", SALT, "front-page")("d1") == 0.29077645668999597


def test_every_part_counts_and_where_it_ends_does_too():
    values = {
        Uniform("draw", SALT, "ab")("c"),
        Uniform("draw", SALT, "a")("bc"),
        Uniform("draw", SALT)("abc"),
        Uniform("draw", SALT, "abc")(""),
        Uniform("arm", SALT, "ab")("c"),
        Uniform("draw", SALT[:-1], "ab")("c"),
    }
    assert len(values) == 6


def test_numbers_are_in_the_unit_interval_and_spread_over_it():
    uniform = Uniform("draw", SALT)
    values = [uniform(str(i)) for i in range(10_000)]
    assert 0.0 <= min(values) < 0.01
    assert 0.99 < max(values) < 1.0
    assert sum(values) / len(values) == pytest.approx(0.5, abs=0.02)


def test_a_number_does_not_depend_on_what_was_asked_before():
    uniform = Uniform("draw", SALT, "front-page")
    asked = [uniform(unit) for unit in ("d1", "d2", "d1", "", "d1")]
    assert asked == [Uniform("draw", SALT, "front-page")(unit) for unit in ("d1", "d2", "d1", "", "d1")]


@pytest.mark.parametrize(
    ("u", "index"), [(0.0, 0), (0.2499, 0), (0.25, 1), (0.7499, 1), (0.75, 2), (0.9999, 2)]
)
def test_a_draw_follows_the_cumulative_distribution(u, index):
    assert draw([0.25, 0.5, 0.25], u) == index


@pytest.mark.parametrize("u", [0.0, 0.5, 1.0 - 2.0**-53])
def test_a_variant_of_probability_zero_is_never_drawn(u):
    assert draw([0.0, 1.0, 0.0], u) == 1


def test_what_rounding_leaves_over_belongs_to_the_last_variant_with_support():
    assert draw([0.1] * 9 + [0.1 - 1e-10, 0.0], 1.0 - 2.0**-53) == 9
