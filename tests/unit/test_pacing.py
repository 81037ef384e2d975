"""The arithmetic of waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.pacing import PollPolicy, RetryPolicy

chances = st.floats(0, 1, exclude_max=True)


@given(age=st.floats(0, 1e6), chance=chances, crowd=st.integers(0, 100_000))
def test_no_gap_between_looks_passes_the_ceiling(age: float, chance: float, crowd: int) -> None:
    policy = PollPolicy()
    wait = policy.delay(age, chance, crowd=crowd)
    assert policy.floor_s * (1 - policy.jitter) <= wait <= policy.ceiling_s


@given(age=st.floats(0, 1e6), chance=chances, wish=st.floats(0, 3600))
def test_the_other_sides_wish_is_honoured_in_full(age: float, chance: float, wish: float) -> None:
    assert PollPolicy().delay(age, chance, wish) >= wish


@given(chance=chances)
def test_a_crowd_looks_less_often(chance: float) -> None:
    policy = PollPolicy()
    assert policy.delay(0.5, chance, crowd=10) < policy.delay(0.5, chance, crowd=400)


@given(attempt=st.integers(0, 10_000), chance=chances, wish=st.none() | st.floats(0, 3600))
def test_retries_back_off_within_bounds(attempt: int, chance: float, wish: float | None) -> None:
    policy = RetryPolicy()
    wait = policy.delay(attempt, chance, wish)
    assert wait >= (wish or 0.0)
    assert wait <= max(policy.ceiling_s, wish or 0.0)
    assert wait >= policy.first_s / 2
