import torch
from skysense.inference.held import HeldTiles, Painted, nothing

WHOLE = slice(0, 8)


def painted(fill: float = 0.0) -> Painted:
    values = torch.arange(64.0).reshape(1, 8, 8) + fill
    return Painted(values, torch.ones(8, 8, dtype=torch.bool), (WHOLE, WHOLE))


def test_a_tile_that_was_taken_whole_leaves_its_lower_and_right_edge():
    held = HeldTiles(8, edge=2)
    held.put((0, 0), painted())
    held.taken((0, 0), (WHOLE, slice(0, 5)))
    assert held.find((0, 0), (WHOLE, WHOLE)) is not None  # a part of it may still be asked for
    held.taken((0, 0), (WHOLE, WHOLE))
    assert held.find((0, 0), (WHOLE, WHOLE)) is None
    bottom = held.find((0, 0), (slice(6, 8), slice(1, 7)))
    assert bottom is not None and bottom.at == (slice(6, 8), WHOLE)
    assert torch.equal(bottom.values, painted().values[:, 6:])
    right = held.find((0, 0), (slice(3, 8), slice(7, 8)))
    assert right is not None and torch.equal(right.values, painted().values[:, :, 6:])
    assert held.find((0, 0), (slice(5, 8), WHOLE)) is None


def test_a_tile_that_a_window_begins_with_leaves_all_its_edges():
    held = HeldTiles(8, edge=2)
    held.put((0, 0), painted())
    held.taken((0, 0), (WHOLE, WHOLE), first=True)
    for edge in (slice(0, 2), slice(6, 8)):
        rows, cols = held.find((0, 0), (edge, WHOLE)), held.find((0, 0), (WHOLE, edge))
        assert torch.equal(rows.values, painted().values[:, edge])
        assert torch.equal(cols.values, painted().values[:, :, edge])
    assert held.find((0, 0), (slice(0, 3), WHOLE)) is None


def test_without_an_edge_tiles_stay_whole():
    held = HeldTiles(8, edge=None)
    held.put((0, 0), painted())
    held.taken((0, 0), (WHOLE, WHOLE))
    assert held.find((0, 0), (WHOLE, WHOLE)) is not None


def test_the_least_recently_used_go_first(monkeypatch):
    monkeypatch.setattr("skysense.inference.held._BYTES", 3 * painted().bytes)
    monkeypatch.setattr("skysense.inference.held._AT_LEAST", 1)
    held = HeldTiles(8, edge=None)
    for number in range(3):
        held.put((0, number), painted(number))
    assert held.find((0, 0), (WHOLE, WHOLE)) is not None
    held.put((0, 3), painted(3))
    found = [held.find((0, number), (WHOLE, WHOLE)) is not None for number in range(4)]
    assert found == [True, False, True, True]


def test_a_tile_without_sight_takes_no_room():
    empty = nothing(WHOLE, 5, torch.device("cpu"))
    assert empty.covers((WHOLE, WHOLE)) and not empty.valid.any() and empty.values.shape == (5, 8, 8)
