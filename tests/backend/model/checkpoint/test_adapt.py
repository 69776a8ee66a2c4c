"""Weights for other inputs: exact values."""

import pytest
import torch
import torch.nn.functional as F
from skysense.model.checkpoint.adapt import fit_positions, hr_patch_for_four_bands, s2_patch_for_four_bands


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


def test_positions_of_the_right_size_are_kept() -> None:
    pos = torch.rand(1, 17, 8)
    assert torch.equal(fit_positions(pos, 17), pos)


def test_positions_are_resized_as_an_image_and_the_cls_tokens_is_kept() -> None:
    pos = torch.rand(1, 17, 8).half()
    out = fit_positions(pos, 65)
    grid = pos[:, 1:].float().reshape(1, 4, 4, 8).permute(0, 3, 1, 2)
    expected = F.interpolate(grid, (8, 8), mode="bicubic", align_corners=False).flatten(2).transpose(1, 2)
    assert out.dtype == torch.float16
    assert torch.equal(out[:, 0], pos[:, 0]) and torch.equal(out[:, 1:], expected.half())


def test_positions_without_one_for_the_cls_token_get_zeros() -> None:
    pos = torch.rand(1, 16, 8)
    out = fit_positions(pos, 17)
    assert out[:, 0].eq(0).all() and torch.equal(out[:, 1:], pos)


def test_positions_of_no_square_are_refused() -> None:
    with pytest.raises(ValueError, match="40 positions"):
        fit_positions(torch.zeros(1, 40, 8), 17)
