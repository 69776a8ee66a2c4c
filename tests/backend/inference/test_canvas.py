import numpy as np
import torch
from affine import Affine
from skysense.inference.canvas import classify
from skysense.inference.resample import OutputSampler
from skysense.jobs.control import JobControl
from skysense.raster.grid import Grid, Lattice, Window


class Plane:
    """Scores that are a plane over the lattice, so that every interpolated value is known."""

    def __init__(self, area):
        self.area = area

    def window(self, window: Window, control):
        rows = torch.arange(window.row, window.row + window.height, dtype=torch.float64)
        cols = torch.arange(window.col, window.col + window.width, dtype=torch.float64)
        scores = torch.stack([rows[:, None] + 0 * cols, 2 * cols + 0 * rows[:, None]]).float()
        inside = (rows >= self.area.row) & (rows < self.area.row + self.area.height)
        return scores, inside[:, None].expand(-1, window.width)


def test_output_pixels_of_another_size_and_phase_are_interpolated_at_their_centres():
    compute = Lattice("EPSG:32632", 2.0, 0.0, 0.0)
    grid = Grid("EPSG:32632", Affine(3.0, 0, 101.0, 0, -3.0, -50.0), 4, 5)
    sampler = OutputSampler(Plane(Window(0, 0, 1000, 1000)), compute, grid.crs, aligned=False)
    scores, valid = sampler.chunk(grid, JobControl(lambda event: None))
    rows = (50 + 3 * (np.arange(5) + 0.5)) / 2 - 0.5
    cols = (101 + 3 * (np.arange(4) + 0.5)) / 2 - 0.5
    assert valid.all()
    np.testing.assert_allclose(scores[0], np.broadcast_to(rows[:, None], (5, 4)), atol=1e-3)
    np.testing.assert_allclose(scores[1], np.broadcast_to(2 * cols, (5, 4)), atol=1e-3)


def test_aligned_output_is_taken_as_it_is():
    compute = Lattice("EPSG:32632", 2.0, 0.0, 0.0)
    grid = compute.grid(Window(7, 9, 3, 4))
    scores, valid = OutputSampler(Plane(Window(8, 0, 9, 9)), compute, grid.crs, aligned=True).chunk(
        grid, JobControl(lambda event: None)
    )
    assert scores[0, :, 0].tolist() == [7, 8, 9] and scores[1, 0].tolist() == [18, 20, 22, 24]
    assert valid[:, 0].tolist() == [False, True, True]


def test_confidence_is_the_probability_of_the_shown_class():
    probabilities = torch.tensor([0.7, 0.2, 0.1])[:, None, None].repeat(1, 1, 2)
    classes, confidence = classify(probabilities, torch.tensor([[True, False]]), (5, 9, 200))
    assert classes.tolist() == [[5, 0]] and confidence.tolist() == [[70, 0]]
    sure = torch.tensor([0.001, 0.999])[:, None, None]
    assert classify(sure, torch.ones(1, 1, dtype=torch.bool), (5, 9)).tolist() == [[[9]], [[100]]]
