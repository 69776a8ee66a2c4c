import pytest
import torch
from skysense.model.inputs import Inputs
from skysense.model.presets import PRESETS
from skysense.model.skysense import SkySense
from skysense.pretrain.collate import Group
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.flops import StepFlops, images_flops, models_flops
from skysense.pretrain.objective import Objective
from skysense.pretrain.objective.geo import with_regions
from skysense.pretrain.teacher import Teacher
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

PLACE = (4.4, 51.2)
SETTINGS = PretrainConfig()
CONFIG = with_regions(PRESETS["tiny"], [PLACE], SETTINGS)
#: Kernels of the CPU that torch's counter leaves out.
CPU_KERNELS = {
    torch.ops.aten.addmm_: lambda x, a, b, **_: 2 * a[0] * a[1] * b[1],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(
        q, k, v
    ),
}


def inputs(samples, *, s2=0, s1=0, hr=0, per_base=None, side=16):
    made = Inputs(region=torch.tensor([PLACE] * samples, dtype=torch.float64))
    for name, dates, bands in (("s2", s2, 10), ("s1", s1, 2)):
        if dates:
            setattr(made, name, torch.randn(samples, dates, bands, side, side, dtype=torch.float64))
            setattr(made, f"{name}_valid", torch.ones(samples, dates, side, side, dtype=torch.bool))
            setattr(made, f"{name}_day", torch.arange(dates).expand(samples, dates))
    if hr:
        made.hr = torch.randn(samples, 3, hr, hr, dtype=torch.float64)
        made.hr_valid = torch.ones(samples, hr, hr, dtype=torch.bool)
        made.hr_per_base = per_base
    return made


def group(*views):
    samples = len(views[0].region)
    order = {}
    for name in ("s2", "s1"):
        days = [getattr(view, f"{name}_day") for view in views]
        order[name] = tuple(torch.zeros(samples, 0, dtype=torch.int64) if d is None else d for d in days)
    to_window = torch.eye(2, 3, dtype=torch.float64).expand(samples, 2, 3)
    return Group(views, (to_window,) * len(views), order, tuple(map(str, range(samples))))


def test_it_is_what_a_count_by_hand_gives():
    """One S1 date of 8 x 8 pixels: 4 patches through 4 layers, 64 locations of 2 tokens."""
    c, d, o = 96, 96, 256  # S1, fusion and token dim
    patch = 2 * 4 * (16 * 2) * c
    encoder = 4 * (2 * 4 * c * c * 4 + 2 * 2 * 4 * 4 * c + 2 * 8 * c * c * 4)  # projections, attention, FFN
    fold = 2 * 4 * c * 16 * d
    full = 2 * 12 * d * d * 2 + 2 * 2 * 2 * 2 * d
    last = 2 * 2 * d * d * 2 + 2 * 10 * d * d + 2 * 2 * 2 * d
    geo = 2 * 2 * SETTINGS.geo_prototypes * d
    up = 2 * 4 * c * 16 * o
    by_hand = patch + encoder + fold + 64 * (full + last + geo) + up
    assert images_flops(CONFIG, inputs(1, s1=1, side=8)) == by_hand


@pytest.mark.parametrize(
    "groups",
    [
        [group(inputs(2, s2=3, s1=2), inputs(2, s2=2, s1=2), inputs(2, s2=2, s1=1, side=8))],
        [group(*2 * [inputs(1, s2=2, s1=1, hr=256, per_base=16)])],
        [group(*2 * [inputs(1, hr=256)]), group(*2 * [inputs(1, s1=3)])],
    ],
    ids=["series and a local view", "fused", "HR alone beside a series"],
)
def test_a_step_costs_what_torch_counts(groups):
    torch.manual_seed(0)
    torch.set_num_threads(1)
    student = SkySense(CONFIG).double().train()
    objective = Objective(CONFIG, SETTINGS).double()
    teacher = Teacher(student, objective.heads)
    flops = StepFlops(CONFIG, objective.heads, teacher.heads)
    with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
        losses = objective.losses(student, teacher, groups, teacher_temperature=0.04, seed=1)
        losses["total"].backward()
    counted = flops.of(groups)
    # Clustering, Sinkhorn and what the losses multiply are not counted.
    assert 0.975 * counter.get_total_flops() < counted < 1.005 * counter.get_total_flops()
    heads = sum(counter.get_flop_counts()["Heads"].values())
    assert counted - models_flops(CONFIG, groups) == heads
    models = flops.of(groups)  # no losses since
    assert models == models_flops(CONFIG, groups)
    with FlopCounterMode(display=False, custom_mapping=CPU_KERNELS) as counter:
        for n, view in ((n, view) for g in groups for n, view in enumerate(g.views)):
            out = student(view, series_maps=True)
            maps = [m for m in (out.fused, out.s2, out.s1, *(out.hr or ())) if m is not None]
            sum(m.sum() for m in maps).backward()
            if n < 2:
                with torch.no_grad():
                    teacher.model(view, series_maps=True)
    assert models == pytest.approx(counter.get_total_flops(), rel=0.01)


def test_what_saw_nothing_costs_nothing():
    view = inputs(2, s2=3, s1=2, hr=128, per_base=8)
    view.s2_valid[0, 1:] = False
    view.s2_valid[1] = False
    view.s2_valid[1, 0, 0, :3] = True  # less than half of any patch
    view.hr_valid[1] = False
    first = inputs(1, s2=1, s1=2, hr=128, per_base=8)
    assert images_flops(CONFIG, view) == images_flops(CONFIG, first) + images_flops(CONFIG, inputs(1, s1=2))


def test_validity_that_is_not_told_is_full():
    view = inputs(2, s2=3, hr=128, per_base=8)
    whole = images_flops(CONFIG, view)
    view.s2_valid = view.hr_valid = None
    assert images_flops(CONFIG, view) == whole
