import torch
from skysense.inference.smooth import SmoothProbabilities, grown
from skysense.jobs.control import JobControl
from skysense.raster.grid import Window

QUIET = JobControl(lambda event: None)


class Field:
    """Scores and validity by place on an endless lattice."""

    def window(self, window, control):
        rows = torch.arange(window.row, window.row + window.height)[:, None]
        cols = torch.arange(window.col, window.col + window.width)[None]
        first = ((rows * 7 + cols * 3) % 5).double()
        return torch.stack([first, 2 - first]), (rows * 5 + cols * 11) % 7 > 1


def test_a_pixel_is_the_mean_of_its_valid_neighbours_probabilities():
    smooth = SmoothProbabilities(Field(), Window(-100, -100, 200, 200), 2.0)
    got, valid = smooth.window(Window(3, -4, 6, 8), QUIET)
    scores, seen = Field().window(Window(1, -6, 10, 12), QUIET)
    probabilities = torch.softmax(scores / 2, 0)
    for row in range(6):
        for col in range(8):
            near = (slice(row, row + 5), slice(col, col + 5))
            torch.testing.assert_close(got[:, row, col], probabilities[:, *near][:, seen[near]].mean(1))
            assert valid[row, col] == seen[row + 2, col + 2]


def test_windows_agree_where_they_overlap_and_the_area_is_kept():
    area = Window(0, 0, 20, 20)
    smooth = SmoothProbabilities(Field(), area, 1.0)
    whole, all_valid = smooth.window(Window(-3, -3, 26, 26), QUIET)
    part, valid = smooth.window(Window(5, 7, 4, 6), QUIET)
    assert torch.equal(whole[:, 8:12, 10:16], part) and torch.equal(all_valid[8:12, 10:16], valid)
    assert not all_valid[:3].any() and not all_valid[:, 23:].any() and all_valid[3:23, 3:23].any()


def test_an_area_needs_the_pixels_around_it():
    assert grown(Window(4, 5, 6, 7)) == Window(2, 3, 10, 11)
