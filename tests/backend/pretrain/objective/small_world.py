"""A small model and batches of random views that differ by whole pixels, in float64, for the tests of the objective."""

import torch
from skysense.model.config import FusionConfig, ModelConfig, SwinConfig, VitConfig
from skysense.model.inputs import Inputs
from skysense.model.skysense import SkySense
from skysense.pretrain.collate import Group
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective import Objective
from skysense.pretrain.objective.geo import with_regions
from skysense.pretrain.teacher import Teacher

PLACES = [(4.4, 51.2), (77.2, 28.6)]
CONFIG = PretrainConfig(
    head_hidden=16, head_bottleneck=8, head_outputs=12, object_clusters=3, pixels_per_view=20, geo_prototypes=4
)  # fmt: skip


def model_config(config=CONFIG):
    mini = ModelConfig(
        SwinConfig(8, (1, 1, 1, 1), (1, 2, 2, 4), window=4),
        VitConfig(16, 2, 2, img_size=32),
        VitConfig(16, 2, 2, img_size=32),
        FusionConfig(24, 2, 2),
    )
    return with_regions(mini, PLACES, config)


def students_and_teacher(config=CONFIG):
    """Student, objective, and a teacher that differs from the student."""
    torch.manual_seed(0)
    student = SkySense(model_config(config)).double().train()
    objective = Objective(student.config, config).double()
    if student.geo_context is not None:
        student.geo_context.prototypes.normal_()
    teacher = Teacher(student, objective.heads)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return student, objective, teacher


def group(samples, seed, *, s2=0, s1=0, hr=0, side=16, local=0):
    """Samples with `s2` and `s1` dates, and `hr` HR pixels along a pixel (without a series: HR alone).

    Views are shifted by whole pixels; some pixels are invalid. Local views have half the side.
    """
    g = torch.Generator().manual_seed(seed)
    views, to_window, order = [], [], {"s2": [], "s1": []}
    for view in range(2 + local):
        size = side if view < 2 else side // 2
        inputs = Inputs(region=torch.tensor([PLACES[b % 2] for b in range(samples)], dtype=torch.float64))
        for name, dates, bands in (("s2", s2, 10), ("s1", s1, 2)):
            order[name].append(torch.randint(18000, 18365, (samples, dates), generator=g))
            if dates:
                x = torch.randn(samples, dates, bands, size, size, dtype=torch.float64, generator=g)
                setattr(inputs, name, x)
                valid = torch.rand(samples, dates, size, size, generator=g) > 0.1
                setattr(inputs, f"{name}_valid", valid)
                setattr(inputs, f"{name}_day", order[name][-1] % 365)
        if hr:
            length = size * hr
            inputs.hr = torch.randn(samples, 3, length, length, dtype=torch.float64, generator=g)
            inputs.hr_valid = torch.ones(samples, length, length, dtype=torch.bool)
            inputs.hr_valid[:, : length // 4, : length // 4] = False
            inputs.hr_day = torch.full((samples,), -1)
            inputs.hr_per_base = hr if s2 or s1 else None
        views.append(inputs)
        shift = torch.randint(0, 5, (samples, 2, 1), generator=g).double()
        to_window.append(torch.cat((torch.eye(2, dtype=torch.float64).expand(samples, 2, 2), shift), 2))
    scenes = tuple(f"scene {seed} {b}" for b in range(samples))
    return Group(tuple(views), tuple(to_window), {k: tuple(v) for k, v in order.items()}, scenes)


def part(whole, samples):
    """Some of a group's samples, a slice."""

    def cut(inputs):
        fields = vars(inputs).items()
        return Inputs(**{k: v[samples] if isinstance(v, torch.Tensor) else v for k, v in fields})

    return Group(
        tuple(cut(inputs) for inputs in whole.views),
        tuple(x[samples] for x in whole.to_window),
        {k: tuple(x[samples] for x in v) for k, v in whole.order.items()},
        whole.scenes[samples],
    )


def padded(whole):
    """The group with one more S2 acquisition per view that saw nothing."""
    views = []
    for inputs in whole.views:
        fields = dict(vars(inputs))
        for name, value in (("s2", 0.0), ("s2_valid", False), ("s2_day", -1)):
            last = torch.full_like(fields[name][:, :1], value)
            fields[name] = torch.cat((fields[name], last), 1)
        views.append(Inputs(**fields))
    days = tuple(torch.nn.functional.pad(x, (0, 1)) for x in whole.order["s2"])
    return Group(tuple(views), whole.to_window, {**whole.order, "s2": days}, whole.scenes)
