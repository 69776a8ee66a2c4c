import numpy as np
import pytest
from skysense.pretrain.crops import Crop, Frame, draw_crops, overlap

ALL_TURNS = [(turns, flip) for turns in range(4) for flip in (False, True)]


@pytest.mark.parametrize("turns,flip", ALL_TURNS)
def test_the_affine_leads_each_view_pixel_back_to_the_window_pixel_it_shows(turns, flip):
    rows, cols = np.meshgrid(np.arange(32) + 0.5, np.arange(32) + 0.5, indexing="ij")
    crop = Crop(row=5, col=9, side=16, size=16, turns=turns, flip=flip)
    shown = crop.turn(crop.cut(np.stack((rows, cols))))
    points = np.stack((rows[:16, :16], cols[:16, :16], np.ones((16, 16))))
    np.testing.assert_array_equal(np.einsum("ij,jrc->irc", crop.to_window(), points), shown)


def test_the_eight_orientations_are_all_different():
    picture = np.arange(16).reshape(4, 4)
    seen = {Crop(0, 0, 4, 4, turns, flip).turn(picture).tobytes() for turns, flip in ALL_TURNS}
    assert len(seen) == 8


@pytest.mark.parametrize("turns,flip", ALL_TURNS)
def test_a_scaled_crop_maps_corners_to_corners(turns, flip):
    corners = Crop(8, 4, 24, 16, turns, flip).to_window() @ np.array([[0, 16], [0, 16], [1, 1]])
    assert {corners[0].min(), corners[0].max()} == {8, 32}
    assert {corners[1].min(), corners[1].max()} == {4, 28}


def test_finer_pixels_of_the_same_square_are_cut_by_scale():
    values = np.arange(64 * 64).reshape(64, 64)
    np.testing.assert_array_equal(Crop(2, 3, 4, 4).cut(values, 4), values[8:24, 12:28])


@pytest.mark.parametrize("frame", [Frame(16, 16, 16), Frame(16, 16, 32)])
def test_global_views_share_half_of_each_and_show_every_orientation(frame):
    rng = np.random.default_rng(0)
    kinds, places = set(), set()
    for _ in range(300):
        first, second = draw_crops(np.ones((32, 32)), frame, Frame(8, 8, 8), 0, rng)
        assert 2 * overlap(first, second) >= max(first.side, second.side) ** 2
        for crop in (first, second):
            assert 0 <= crop.row <= 32 - crop.side and 0 <= crop.col <= 32 - crop.side
            assert frame.least <= crop.side <= frame.most
            kinds.add((crop.turns, crop.flip))
            places.add((crop.row, crop.col))
    assert len(kinds) == 8 and len(places) > 50


def test_crops_look_for_the_pixels_that_were_seen():
    seen = np.zeros((64, 64))
    seen[3:20, 40:60] = 1
    rng = np.random.default_rng(1)
    shares = []
    for _ in range(100):
        crops = draw_crops(seen, Frame(16, 16, 16), Frame(8, 8, 8), 3, rng)
        shares += [crop.cut(seen).mean() for crop in crops[:2]]
        assert all(crop.cut(seen).any() for crop in crops)
    assert np.mean(np.array(shares) >= 0.5) > 0.9


def test_one_seen_pixel_is_in_every_view():
    seen = np.zeros((32, 32))
    seen[31, 0] = 1
    rng = np.random.default_rng(2)
    for _ in range(50):
        for crop in draw_crops(seen, Frame(16, 16, 16), Frame(8, 8, 8), 2, rng):
            assert crop.cut(seen).sum() == 1


def test_local_views_are_smaller_and_touch_what_the_global_ones_share():
    rng = np.random.default_rng(3)
    for _ in range(50):
        first, second, *rest = draw_crops(np.ones((32, 32)), Frame(16, 16, 16), Frame(8, 8, 8), 3, rng)
        assert len(rest) == 3
        for crop in rest:
            assert crop.size == 8 and overlap(crop, first) and overlap(crop, second)
