"""What the initial values promise, measured through the whole model."""

from dataclasses import replace

import pytest
import torch
from skysense.errors import InputError
from skysense.model.config import FusionConfig
from skysense.model.inputs import Inputs
from skysense.model.presets import PRESETS, preset
from skysense.model.skysense import SkySense
from skysense.pretrain.seasons import begin_with_seasons
from small_shapes import MINI


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = SkySense(preset("tiny")).eval()
    begin_with_seasons(made, 0)
    return made


def fused(model, s2=None, s2_day=None, s1=None, s1_day=None):
    with torch.no_grad():
        features = model(
            Inputs(
                s2=None if s2 is None else s2[None],
                s2_day=None if s2_day is None else torch.tensor([s2_day]),
                s1=None if s1 is None else s1[None],
                s1_day=None if s1_day is None else torch.tensor([s1_day]),
            )
        )
    return features.fused[0]


def uniform(days, bands, change=(), side=16):
    """A series that shows 0 everywhere, but 1 in all bands on the days of `change`."""
    x = torch.zeros(len(days), bands, side, side)
    for day in change:
        x[days.index(day)] = 1.0
    return x


DAYS = list(range(15, 365, 30))


@pytest.mark.parametrize("fusion", [None, FusionConfig(256, 4, 8), FusionConfig(512, 8, 8)])
def test_each_season_moves_features_in_its_own_direction(model, fusion):
    """January's, May's and September's spectra are told apart, however deep the fusion: they move the features along
    unlike directions."""
    if fusion is not None:
        torch.manual_seed(0)
        model = SkySense(replace(preset("tiny"), fusion=fusion)).eval()
        begin_with_seasons(model, 0)
    still = fused(model, uniform(DAYS, 10), DAYS)[:, 8, 8]
    moved = torch.stack(
        [fused(model, uniform(DAYS, 10, [day]), DAYS)[:, 8, 8] - still for day in (15, 135, 255)]
    )
    cosines = torch.nn.functional.normalize(moved, dim=1) @ torch.nn.functional.normalize(moved, dim=1).T
    assert (moved.norm(dim=1) > 0.1).all()
    assert cosines.fill_diagonal_(0).abs().max() < 0.3


def test_neighbouring_days_move_features_alike(model):
    days = [*DAYS, 140]
    days.sort()
    still = fused(model, uniform(days, 10), days)[:, 8, 8]
    moved = torch.stack([fused(model, uniform(days, 10, [day]), days)[:, 8, 8] - still for day in (135, 140)])
    assert torch.nn.functional.cosine_similarity(moved[0], moved[1], dim=0) > 0.95


def test_the_two_sensors_move_features_in_unlike_directions(model):
    s2, s1 = uniform(DAYS, 10), uniform(DAYS, 2)
    still = fused(model, s2, DAYS, s1, DAYS)[:, 8, 8]
    optical = fused(model, uniform(DAYS, 10, [135]), DAYS, s1, DAYS)[:, 8, 8] - still
    radar = fused(model, s2, DAYS, uniform(DAYS, 2, [135]), DAYS)[:, 8, 8] - still
    assert min(optical.norm(), radar.norm()) > 0.05
    assert torch.nn.functional.cosine_similarity(optical, radar, dim=0).abs() < 0.35


def test_a_pixel_shows_itself_most_then_its_patch_and_hardly_anything_else(model):
    """Alike at each of the 16 places of a patch."""
    torch.manual_seed(3)
    x, days = torch.randn(1, 10, 16, 16), [135]
    still, owns = fused(model, x, days), []
    for row, col in ((4, 4), (5, 7), (7, 6)):
        changed = x.clone()
        changed[0, :, row, col] += 1.0
        moved = (fused(model, changed, days) - still).norm(dim=0)
        own, patch = moved[row, col].item(), moved[4:8, 4:8].sum() - moved[row, col]
        assert own == moved.max()
        # 0.6 + 0.4 / 16 of the pixel against 0.4 / 16, but for what the encoder's small layers add.
        assert patch / 15 < 0.15 * own
        moved[4:8, 4:8] = 0
        assert moved.max() < 0.05 * own
        owns.append(own)
    assert max(owns) < 1.3 * min(owns)


def test_places_of_a_patch_show_the_same_spectrum_alike(model):
    torch.manual_seed(6)
    spectrum = torch.randn(1, 10, 1, 1).expand(-1, -1, 16, 16)
    features = fused(model, spectrum, [135])[:, 4:8, 4:8].flatten(1)
    assert features.std(1).max() < 0.15 * features.std()


def test_features_are_the_seasons_spectra_band_by_band_and_what_they_are_beside_the_year_s_mean(model):
    torch.manual_seed(5)
    spectra = torch.randn(6, 10)  # of the two months around each head's middle
    months = [61 * season + day for season in range(6) for day in (20, 41)]
    x = spectra.repeat_interleave(2, 0)[:, :, None, None].expand(-1, -1, 16, 16)
    found = fused(model, x, months)[:, 8, 8].view(6, 16)
    root = 0.5**0.5
    contrasts = root * (spectra[:, [6, 8, 5]] - spectra[:, [2, 6, 3]])  # B8 - B4, B11 - B8, B7 - B5
    nothing = torch.zeros(6, 2)
    composite = torch.cat((spectra, nothing, contrasts, nothing[:, :1]), 1)
    expected = composite + (composite - composite.mean()) / composite.std(correction=0)
    assert torch.corrcoef(torch.stack((found.flatten(), expected.flatten())))[0, 1] > 0.95
    # As strong by year as that, too.
    assert 0.7 < found.norm() / expected.norm() < 1.3


def test_what_features_differ_in_outweighs_what_all_of_them_share(model):
    torch.manual_seed(4)
    features = fused(model, torch.randn(12, 10, 16, 16), DAYS[:12]).flatten(1)
    common = features.mean(1, keepdim=True)
    assert common.norm() < (features - common).norm(dim=0).mean()


def test_the_seed_gives_the_values(model):
    twins = []
    for seed in (0, 0, 1):
        torch.manual_seed(0)
        made = SkySense(preset("tiny"))
        begin_with_seasons(made, seed)
        twins.append(made)
    assert all(torch.equal(a, b) for a, b in zip(twins[0].parameters(), twins[1].parameters(), strict=True))
    assert not torch.equal(twins[0].ctpe, twins[2].ctpe)


def test_hr_keeps_the_specification_s_values_and_other_layers_add_a_share_of_theirs():
    torch.manual_seed(0)
    plain = SkySense(preset("tiny"))
    torch.manual_seed(0)
    made = SkySense(preset("tiny"))
    begin_with_seasons(made, 0)
    pair = (plain.backbone_gep.parameters(), made.backbone_gep.parameters())
    assert all(torch.equal(a, b) for a, b in zip(*pair, strict=True))
    for name, share in (
        ("backbone_s2.layers", 1 / 6),
        ("backbone_s1.layers", 1 / 4),
        ("fusion.layers.0", 1.0),
    ):
        twin = dict(made.get_submodule(name).named_parameters())
        for key, parameter in plain.get_submodule(name).named_parameters():
            adds = key.endswith(("out_proj.weight", "ffn.layers.1.weight"))
            assert torch.allclose(twin[key], parameter * (share if adds else 1.0)), key


@pytest.mark.parametrize("size", ["small", "base"])
def test_every_preset_can_begin_so(size):
    made = SkySense(PRESETS[size])
    begin_with_seasons(made, 0)
    assert all(bool(p.isfinite().all()) for p in made.parameters())


def test_a_small_model_can_too():
    made = SkySense(MINI).eval()
    begin_with_seasons(made, 0)
    assert fused(made, uniform(DAYS, 10), DAYS).isfinite().all()


def test_too_narrow_a_fusion_is_refused():
    made = SkySense(replace(MINI, fusion=FusionConfig(12, 2, 2)))
    with pytest.raises(InputError, match="12 channels is too narrow"):
        begin_with_seasons(made, 0)
