"""The fields that the synthetic landscape is made with."""

import numpy as np
from skysense.synthetic.noise import (
    block_mean,
    blur,
    fractal_noise,
    smooth_noise,
    smoothstep,
    stream,
    upsample,
)


def test_streams_are_repeatable_and_independent() -> None:
    assert stream(3, "a").integers(0, 1 << 30) == stream(3, "a").integers(0, 1 << 30)
    assert stream(3, "a").integers(0, 1 << 30) != stream(3, "b").integers(0, 1 << 30)


def test_noise_has_unit_spread_and_the_asked_width() -> None:
    field = smooth_noise((400, 300), 1.0, 10.0, stream(0, "n"))
    assert field.shape == (400, 300) and field.dtype == np.float32
    assert abs(field.mean()) < 0.1 and 0.85 < field.std() < 1.15

    def correlation(lag: int) -> float:
        return float(np.corrcoef(field[lag:].ravel(), field[:-lag].ravel())[0, 1])

    assert correlation(2) > 0.9 and abs(correlation(40)) < 0.1
    assert 0.8 < fractal_noise((400, 300), 1.0, 20.0, stream(0, "f")).std() < 1.2


def test_block_mean_and_upsample() -> None:
    field = np.array([[1, 3, 5, 7], [1, 3, 5, 7]], np.float32)
    np.testing.assert_array_equal(block_mean(field, 2), [[2, 6]])
    np.testing.assert_array_equal(upsample(np.array([[0, 4]], np.float32), 2), [[0, 1, 3, 4]] * 2)
    np.testing.assert_array_equal(upsample(np.full((2, 1, 1), 5, np.float32), 3), np.full((2, 3, 3), 5))


def test_blur_and_smoothstep() -> None:
    spot = np.zeros((3, 3), np.float32)
    spot[1, 1] = 1
    np.testing.assert_allclose(blur(spot, 0.5), np.outer([0.25, 0.5, 0.25], [0.25, 0.5, 0.25]))
    np.testing.assert_allclose(smoothstep(np.array([-1, 0, 0.5, 1, 2])), [0, 0, 0.5, 1, 1])
