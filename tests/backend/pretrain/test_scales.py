"""What the HR encoder's initial values promise, measured through the whole encoder."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from skysense.errors import InputError
from skysense.model.presets import PRESETS, preset
from skysense.model.skysense import SkySense
from skysense.pretrain.scales import begin_with_scales
from small_shapes import MINI


def begun(size="tiny", seed=0):
    torch.manual_seed(0)
    made = SkySense(preset(size)).eval()
    begin_with_scales(made, seed)
    return made


@pytest.fixture(scope="module")
def model():
    return begun()


@pytest.fixture(scope="module")
def images():
    """Noise of all scales, as natural images have it, of contrasts that differ from place to place."""
    torch.manual_seed(1)
    octaves = [F.interpolate(torch.randn(8, 3, s, s), size=256, mode="bilinear") for s in (4, 16, 64, 256)]
    contrast = F.interpolate(torch.rand(8, 1, 8, 8), size=256, mode="bilinear")
    return sum(octaves[:2]) / 2 + contrast * sum(octaves[2:]) / 2


@pytest.fixture(scope="module")
def maps(model, images):
    with torch.no_grad():
        return model.encode_hr(images)


def explained(features, target):
    """Share of each target channel's variance that a linear map of the features tells at places it has not seen."""
    x = features.permute(0, 2, 3, 1).flatten(0, 2).double()
    y = target.permute(0, 2, 3, 1).flatten(0, 2).double()
    x, y = (x - x.mean(0)) / x.std(), y - y.mean(0)
    seen, unseen = torch.arange(len(x)) % 2 == 0, torch.arange(len(x)) % 2 == 1
    ridge = x[seen].T @ x[seen] + 1e-4 * torch.eye(x.shape[1])
    left = y[unseen] - x[unseen] @ torch.linalg.solve(ridge, x[seen].T @ y[seen])
    return 1 - left.var(0) / y[unseen].var(0)


def energies(images, side):
    """Mean absolute Haar differences of `side` x `side` mean luminances, by direction, at that side's grid."""
    mean = F.avg_pool2d(images.mean(1, keepdim=True), side // 2)
    a, b, c, d = (mean[..., i::2, j::2] for i in (0, 1) for j in (0, 1))
    return torch.cat(((a + b - c - d).abs(), (a - b + c - d).abs(), (a - b - c + d).abs()), 1) / 4


@pytest.mark.parametrize("stage", range(4))
def test_every_stage_tells_the_mean_colour_of_its_cells(maps, images, stage):
    assert explained(maps[stage], F.avg_pool2d(images, 4 * 2**stage)).min() > 0.98


@pytest.mark.parametrize("stage", range(4))
def test_every_stage_tells_the_energies_of_its_own_scale_and_of_finer_ones(maps, images, stage):
    cell = 4 * 2**stage
    for side in (2, 4, 8, 16, 32):
        if side <= cell:
            told = explained(maps[stage], F.avg_pool2d(energies(images, side), cell // side))
            assert told.min() > 0.9, side


def test_a_stage_does_not_tell_what_is_smaller_than_its_cells_by_sign(maps, images):
    """It tells how much a place varies, not where it is brighter."""
    mean = images.mean(1, keepdim=True)
    signed = F.avg_pool2d(mean[..., 0::2, :] - mean[..., 1::2, :], (4, 8))
    assert explained(maps[1], signed).max() < 0.3


def test_features_have_no_large_common_part(maps):
    for features in maps:
        common = features.mean((0, 2, 3))
        assert common.norm() < 2 * (features - common[None, :, None, None]).norm(dim=1).mean()


def test_cells_know_nothing_of_their_neighbours(model, images):
    x = images[:1].clone()
    with torch.no_grad():
        before = model.encode_hr(x)
        x[..., 64:96, 64:96] += 1
        after = model.encode_hr(x)
    for stage, (a, b) in enumerate(zip(before, after, strict=True)):
        rows, cols = ((a - b).abs().amax((0, 1)) > 1e-4).nonzero(as_tuple=True)
        first, last = 64 // (4 * 2**stage), 95 // (4 * 2**stage)
        assert [rows.min(), rows.max(), cols.min(), cols.max()] == [first, last, first, last]


def test_the_seed_gives_the_values_and_only_the_hr_encoder_has_them():
    torch.manual_seed(0)
    plain = dict(SkySense(preset("tiny")).named_parameters())
    one, same, other = (dict(begun(seed=seed).named_parameters()) for seed in (0, 0, 1))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(
        one["backbone_gep.patch_embed.projection.weight"],
        other["backbone_gep.patch_embed.projection.weight"],
    )
    changed = {name for name in one if not torch.equal(one[name], plain[name])}
    assert changed and all(name.startswith("backbone_gep.") for name in changed)


@pytest.mark.parametrize("size", ["small", "base"])
def test_every_preset_can_begin_so(size):
    made = SkySense(replace(PRESETS[size], geo=None)).eval()
    begin_with_scales(made, 0)
    with torch.no_grad():
        assert all(bool(features.isfinite().all()) for features in made.encode_hr(torch.randn(1, 3, 64, 64)))


def test_too_narrow_an_encoder_is_refused():
    with pytest.raises(InputError, match="8 channels is too narrow"):
        begin_with_scales(SkySense(MINI), 0)
