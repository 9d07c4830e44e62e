"""Dividing accelerators: the parts sum up to the whole, or are not told."""

from hypothesis import given
from hypothesis import strategies as st

from exporter.cloud.pools.capacity import NodeCards, split_capacity
from exporter.domain.job import Accelerator
from exporter.domain.pool import PoolAccelerators


def divided(
    capacity: float, allocated: float | None, *, available: float | None, abnormal: float | None
) -> PoolAccelerators:
    return split_capacity(
        resource="nvidia.com/gpu",
        accelerator=Accelerator.GPU,
        capacity=capacity,
        allocated=allocated,
        cards=NodeCards(available=available, abnormal=abnormal),
    )


def parts(cards: PoolAccelerators) -> tuple[float, float | None, float | None, float | None]:
    return cards.capacity, cards.allocated, cards.free, cards.unavailable


def test_sound_nodes_leave_the_rest_free() -> None:
    """4 nodes of 8, 20 held, none abnormal: 12 free."""
    assert parts(divided(32, 20, available=32, abnormal=0)) == (32, 20, 12, 0)


def test_abnormal_nodes_are_out_of_reach() -> None:
    """The capacity has the abnormal node in it: 32 - 20 held - 8 of it = 4 free."""
    assert parts(divided(32, 20, available=24, abnormal=8)) == (32, 20, 4, 8)


def test_a_capacity_without_abnormal_nodes_is_completed() -> None:
    """It equals what the available nodes have, so 8 are added: 32 - 20 - 8 = 4 free."""
    assert parts(divided(24, 20, available=24, abnormal=8)) == (32, 20, 4, 8)


def test_what_runs_on_abnormal_nodes_counts_as_allocated() -> None:
    """30 of 32 are held, some on the abnormal node: 2 are left, out of reach, and none is free."""
    assert parts(divided(32, 30, available=24, abnormal=8)) == (32, 30, 0, 2)


def test_unknown_cards_of_abnormal_nodes_leave_free_unknown() -> None:
    """A free count that may be too large sends people to a pool that has no room."""
    assert parts(divided(32, 20, available=None, abnormal=None)) == (32, 20, None, None)


def test_unknown_cards_matter_only_where_nodes_are_abnormal() -> None:
    """Without abnormal nodes nothing is out of reach, whatever they have."""
    assert parts(divided(32, 20, available=None, abnormal=0)) == (32, 20, 12, 0)


def test_more_allocated_than_there_is_leaves_the_rest_unknown() -> None:
    """Figures of two moments do not add up; a negative free count would be nonsense."""
    assert parts(divided(32, 40, available=32, abnormal=0)) == (32, 40, None, None)


def test_without_the_allocated_there_is_no_free() -> None:
    """What is held is not known, but what is out of reach is."""
    assert parts(divided(32, None, available=24, abnormal=8)) == (32, None, None, 8)


def test_a_pool_that_is_wholly_abnormal_has_a_capacity() -> None:
    """Told as 0, because no node is available: the 16 cards are there all the same, and none is free."""
    assert parts(divided(0, 0, available=0, abnormal=16)) == (16, 0, 0, 16)


amounts = st.one_of(st.integers(0, 1000).map(float), st.floats(0, 1000))


@given(
    capacity=amounts,
    allocated=st.none() | amounts,
    available=st.none() | st.integers(0, 1000).map(float),
    abnormal=st.none() | st.integers(0, 1000).map(float),
)
def test_the_parts_sum_up(
    capacity: float, allocated: float | None, available: float | None, abnormal: float | None
) -> None:
    """Whatever is told: no part is negative, and where all three are known they are the whole."""
    cards = divided(capacity, allocated, available=available, abnormal=abnormal)

    assert all(part >= -1e-9 for part in (cards.allocated, cards.free, cards.unavailable) if part is not None)
    if cards.allocated is not None and cards.free is not None and cards.unavailable is not None:
        assert abs(cards.allocated + cards.free + cards.unavailable - cards.capacity) < 1e-6
    assert (cards.free is None) == (cards.allocated is None or cards.unavailable is None)
