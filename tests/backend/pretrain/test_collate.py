import dataclasses

import numpy as np
import torch
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.skysense import SkySense
from skysense.pretrain.collate import collate
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.views import make_sample
from window_fixtures import random_stack, window

STILL = PretrainConfig(hr_crop=64, drop_modality=0, drop_date=0, s2_dates=8, s1_dates=4)


def samples(*raws, config=STILL, seed=0):
    rng = np.random.default_rng(seed)
    return [make_sample(raw, config, rng) for raw in raws]


def s2_only(dates=3, **more):
    return window(s2=random_stack(dates, dates, 10, 32), **more)


def fused(factor, **more):
    return window(
        s2=random_stack(0, 3, 10, 32), hr=random_stack(1, 1, 3, 32 * factor), hr_per_base=factor, **more
    )


def test_samples_meet_only_those_of_their_kind():
    raws = [
        window(hr=random_stack(0, 1, 3, 96), scene="a"),
        s2_only(scene="b"),
        fused(4, scene="c"),
        fused(8, scene="d"),
        window(s1=random_stack(0, 2, 2, 32), scene="e"),
        fused(4, scene="f"),
    ]
    groups = collate(samples(*raws))
    assert [group.scenes for group in groups] == [("a",), ("b", "e"), ("c", "f"), ("d",)]
    assert [group.views[0].hr_per_base for group in groups] == [None, None, 4, 8]


def test_dates_are_padded_with_acquisitions_that_saw_nothing():
    short, long = samples(s2_only(2, place=(5.5, 50.25)), s2_only(5, place=(-3.0, 40.0)))
    (group,) = collate([short, long])
    for number, inputs in enumerate(group.views):
        view = short.views[number].s2
        assert inputs.s2.shape == (2, 5, 10, 16, 16)
        assert torch.equal(inputs.s2[0, :2], view.x) and torch.equal(inputs.s2_valid[0, :2], view.valid)
        assert inputs.s2_day[0].tolist() == [*view.day.tolist(), -1, -1, -1]
        assert group.order["s2"][number][0].tolist() == [18262, 18272, 0, 0, 0]
        assert not inputs.s2[0, 2:].any() and not inputs.s2_valid[0, 2:].any()
        assert torch.equal(inputs.s2[1], long.views[number].s2.x)
        assert inputs.region.tolist() == [[5.5, 50.25], [-3.0, 40.0]]
        assert torch.equal(group.to_window[number][1], long.views[number].to_window)


def test_what_one_sample_lacks_is_invalid_and_what_all_lack_is_none():
    both = window(s2=random_stack(0, 3, 10, 32), s1=random_stack(1, 2, 2, 32))
    (group,) = collate(samples(both, s2_only()))
    inputs = group.views[0]
    assert inputs.s1_valid[0].all() and not inputs.s1_valid[1].any()
    assert inputs.s1_day[1].tolist() == [-1, -1] and inputs.hr is None
    (group,) = collate(samples(s2_only(), s2_only()))
    assert group.views[0].s1 is None and group.views[0].s1_valid is None
    assert group.order["s1"][0].shape == (2, 0)


def test_a_picture_dropped_in_one_sample_is_invalid_there():
    first, second = samples(fused(4), fused(4))
    blind = dataclasses.replace(second, views=tuple(dataclasses.replace(v, hr=None) for v in second.views))
    (group,) = collate([first, blind])
    inputs = group.views[1]
    assert torch.equal(inputs.hr[0], first.views[1].hr.x) and inputs.hr_valid[0].all()
    assert not inputs.hr_valid[1].any() and inputs.hr_day.tolist()[1] == -1
    (group,) = collate([blind, blind])
    assert group.views[0].hr is None and group.views[0].hr_per_base is None


def test_local_views_follow_the_global_ones():
    (group,) = collate(samples(s2_only(), s2_only(), config=dataclasses.replace(STILL, local_views=2)))
    assert [inputs.s2.shape[-1] for inputs in group.views] == [16, 16, 8, 8]
    assert len(group.to_window) == len(group.order["s2"]) == 4


def test_the_model_sees_no_padding():
    torch.manual_seed(0)
    vit = VitConfig(dim=16, layers=1, heads=2, img_size=16)
    model = SkySense(
        ModelConfig(
            hr=SwinConfig(dim=8, depths=(1, 1, 1, 1), heads=(1, 1, 1, 1), window=8),
            s2=vit,
            s1=vit,
            fusion=FusionConfig(dim=16, layers=1, heads=2),
        )
    ).eval()
    short, long = samples(
        fused(4), window(s2=random_stack(9, 6, 10, 32), hr_per_base=4, hr=random_stack(1, 1, 3, 128))
    )
    blind = dataclasses.replace(short, views=tuple(dataclasses.replace(v, hr=None) for v in short.views))
    with torch.no_grad():
        (alone,), (among,) = collate([blind]), collate([blind, long])
        expected, out = model(alone.views[0]), model(among.views[0])
    assert out.fused_valid.all()
    torch.testing.assert_close(out.fused[:1], expected.fused)
