"""Division of accelerators: the parts add up to the whole, or are unknown."""

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


def test_available_nodes_leave_the_rest_free() -> None:
    """4 nodes of 8 cards, 20 allocated, no node abnormal: 12 free."""
    assert parts(divided(32, 20, available=32, abnormal=0)) == (32, 20, 12, 0)


def test_cards_of_abnormal_nodes_are_unavailable() -> None:
    """The capacity includes the abnormal node: 32 - 20 allocated - 8 unavailable = 4 free."""
    assert parts(divided(32, 20, available=24, abnormal=8)) == (32, 20, 4, 8)


def test_a_capacity_without_abnormal_nodes_is_completed() -> None:
    """It equals the cards of the available nodes, so 8 are added: 32 - 20 - 8 = 4 free."""
    assert parts(divided(24, 20, available=24, abnormal=8)) == (32, 20, 4, 8)


def test_what_runs_on_abnormal_nodes_counts_as_allocated() -> None:
    """30 of 32 are allocated, some on the abnormal node: 2 are left, unavailable, and none is free."""
    assert parts(divided(32, 30, available=24, abnormal=8)) == (32, 30, 0, 2)


def test_unknown_cards_of_abnormal_nodes_leave_free_unknown() -> None:
    """A free count that may be too high would send jobs to a pool without room."""
    assert parts(divided(32, 20, available=None, abnormal=None)) == (32, 20, None, None)


def test_unknown_cards_matter_only_where_nodes_are_abnormal() -> None:
    """Without abnormal nodes nothing is unavailable, whatever their cards."""
    assert parts(divided(32, 20, available=None, abnormal=0)) == (32, 20, 12, 0)


def test_more_allocated_than_capacity_leaves_the_rest_unknown() -> None:
    """Numbers of two moments do not add up; a negative free count is impossible."""
    assert parts(divided(32, 40, available=32, abnormal=0)) == (32, 40, None, None)


def test_without_allocated_there_is_no_free() -> None:
    """The number of allocated cards is unknown, the number of unavailable ones is known."""
    assert parts(divided(32, None, available=24, abnormal=8)) == (32, None, None, 8)


def test_a_pool_with_only_abnormal_nodes_has_a_capacity() -> None:
    """The response has 0, because no node is available: the capacity is 16 cards, and none is free."""
    assert parts(divided(0, 0, available=0, abnormal=16)) == (16, 0, 0, 16)


amounts = st.one_of(st.integers(0, 1000).map(float), st.floats(0, 1000))


@given(
    capacity=amounts,
    allocated=st.none() | amounts,
    available=st.none() | st.integers(0, 1000).map(float),
    abnormal=st.none() | st.integers(0, 1000).map(float),
)
def test_the_parts_add_up(
    capacity: float, allocated: float | None, available: float | None, abnormal: float | None
) -> None:
    """Any input: no part is negative, and three known parts add up to the whole."""
    cards = divided(capacity, allocated, available=available, abnormal=abnormal)

    assert all(part >= -1e-9 for part in (cards.allocated, cards.free, cards.unavailable) if part is not None)
    if cards.allocated is not None and cards.free is not None and cards.unavailable is not None:
        assert abs(cards.allocated + cards.free + cards.unavailable - cards.capacity) < 1e-6
    assert (cards.free is None) == (cards.allocated is None or cards.unavailable is None)
