"""Weights for other inputs: exact values."""

import pytest
import torch
import torch.nn.functional as F
from skysense.model.checkpoint.adapt import (
    hr_patch_for_four_bands,
    s2_patch_for_four_bands,
    with_cls_position,
)


def test_four_sentinel_bands_take_theirs_of_the_ten_scaled() -> None:
    weight = torch.arange(10.0)[None, :, None, None].expand(6, -1, 4, 4)
    out = s2_patch_for_four_bands(weight)
    assert out.shape == (6, 4, 4, 4) and out[0, :, 0, 0].tolist() == [0.0, 2.5, 5.0, 15.0]


def test_a_grey_image_gives_the_same_with_four_bands_as_with_ten() -> None:
    weight = torch.ones(3, 10, 4, 4)
    image = torch.rand(1, 1, 8, 8)
    ten = F.conv2d(image.expand(-1, 10, -1, -1), weight, stride=4)
    four = F.conv2d(image.expand(-1, 4, -1, -1), s2_patch_for_four_bands(weight), stride=4)
    assert torch.allclose(ten, four)


def test_near_infrared_begins_as_red() -> None:
    weight = torch.rand(6, 3, 4, 4)
    out = hr_patch_for_four_bands(weight)
    assert (
        out.shape == (6, 4, 4, 4) and torch.equal(out[:, :3], weight) and torch.equal(out[:, 3], weight[:, 0])
    )


def test_other_numbers_of_bands_are_refused() -> None:
    with pytest.raises(ValueError, match="takes 4"):
        s2_patch_for_four_bands(torch.zeros(6, 4, 4, 4))
    with pytest.raises(ValueError, match="takes 4"):
        hr_patch_for_four_bands(torch.zeros(6, 4, 4, 4))


def test_positions_without_one_for_the_cls_token_get_zeros() -> None:
    pos = torch.rand(1, 16, 8).half()
    out = with_cls_position(pos)
    assert out.dtype == torch.float16 and out.shape == (1, 17, 8)
    assert out[:, 0].eq(0).all() and torch.equal(out[:, 1:], pos)
