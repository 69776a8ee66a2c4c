from dataclasses import replace

import objective_equations as equations
import pytest
import torch
from skysense.pretrain.correspondence import random_points
from skysense.pretrain.objective.places import seeds, view_maps
from small_world import CONFIG, group, padded, students_and_teacher

STEP = {"teacher_temperature": 0.05, "seed": 3}


@pytest.fixture(autouse=True)
def one_thread():
    torch.set_num_threads(1)


def test_terms_and_their_sum():
    config = replace(CONFIG, pixel_weight=2.0, object_weight=0.5, align_weight=0.3)
    student, objective, teacher = students_and_teacher(config)
    groups = [group(3, 0, s2=3, s1=2, hr=2), group(2, 1, s2=2), group(2, 2, hr=1, side=64)]
    losses = objective.losses(student, teacher, groups, **STEP)
    levels = ("pixel", "object", "image")
    assert set(losses) == {f"{k}.{lv}" for k in ("hr", "s2", "s1", "fused") for lv in levels} | {
        "align",
        "total",
    }
    expected = 0.3 * losses["align"] + sum(
        weight * losses[f"{kind}.{level}"]
        for kind in ("hr", "s2", "s1", "fused")
        for level, weight in zip(levels, (2.0, 0.5, 1.0))
    )
    torch.testing.assert_close(losses["total"], expected)
    assert {name.split(".")[0] for name in objective.stats} == {*objective.heads.dims}
    losses["total"].backward()
    unused = {"backbone_s2.cls_token", "backbone_s1.cls_token", "geo_context.constant"}
    assert {name for name, p in student.named_parameters() if p.grad is None} == unused
    assert all(p.grad.isfinite().all() for p in objective.parameters())
    assert all(p.grad is None for p in teacher.parameters())
    assert not student.geo_context.prototypes.requires_grad


def test_the_constant_learns_from_samples_without_a_place():
    student, objective, teacher = students_and_teacher()
    batch = group(3, 0, s2=3, s1=2, hr=2)
    for view in batch.views:
        view.region[1] = torch.nan
    before = student.geo_context.prototypes.clone()
    objective.losses(student, teacher, [batch], **STEP)["total"].backward()
    assert student.geo_context.constant.grad.isfinite().all() and student.geo_context.constant.grad.any()
    assert len(objective._seen_by_region) == 4, "two views of the two samples whose place is known"
    assert torch.equal(student.geo_context.prototypes, before)


@pytest.mark.parametrize("kind", ["s2", "fused", "hr"])
def test_pixel_and_image_level_from_maps_to_loss(kind):
    """From the model's maps of both views by the equations: places, validity, dates, heads, L_CL."""
    student, objective, teacher = students_and_teacher()
    batch = group(3, 0, s2=3, s1=2, hr=2, local=1)
    losses = objective.losses(student, teacher, [batch], **STEP)
    seen = [
        view_maps(student.config, batch, v, student(x, series_maps=True)) for v, x in enumerate(batch.views)
    ]
    taught = [
        view_maps(student.config, batch, v, teacher.model(batch.views[v], series_maps=True)) for v in (0, 1)
    ]
    kinds = [name for name in objective.heads.dims if name.startswith(kind)]
    pixel = []
    for head in kinds:
        near, far, near_whole, far_whole = [], [], [], []
        for s, t in ((0, 1), (1, 0), (2, 0), (2, 1)):
            u, v = max(s, t), min(s, t)
            generators = seeds(batch, STEP["seed"], f"{kind} {u} {v}")
            at_u, at_v, there = random_points(
                batch, 20, generators, None if kind == "fused" else kind, (u, v)
            )
            at_s, at_t = (at_u, at_v) if s == u else (at_v, at_u)
            mine, theirs = seen[s][head], taught[t][head]
            features, valid = mine.at(at_s)
            targets, target_valid = theirs.at(at_t)
            for b in range(3):
                dates = range(mine.valid.shape[1])
                partner = [
                    min(
                        range(theirs.valid.shape[1]), key=lambda r: abs(mine.order[b, d] - theirs.order[b, r])
                    )
                    for d in dates
                ]
                for n in range(20):
                    d = n % len(dates)
                    if there[b, n] and valid[b, d, n] and target_valid[b, partner[d], n]:
                        near.append(features[b, d, n])
                        far.append(targets[b, partner[d], n])
                for d in dates:
                    near_whole.append(mine.maps[b, d].flatten(1).T[mine.valid[b, d].flatten()].mean(0))
                    r = partner[d]
                    far_whole.append(theirs.maps[b, r].flatten(1).T[theirs.valid[b, r].flatten()].mean(0))

        def l_cl(x, y, head=head):
            scores = (objective.heads(head, torch.stack(x)), teacher.heads(head, torch.stack(y)))
            return equations.l_cl(*(z.tolist() for z in scores), 0.1, STEP["teacher_temperature"], 3)

        pixel.append(l_cl(near, far))
        if head == kinds[-1]:
            assert losses[f"{kind}.image"].item() == pytest.approx(l_cl(near_whole, far_whole), rel=1e-9)
    assert losses[f"{kind}.pixel"].item() == pytest.approx(sum(pixel) / len(pixel), rel=1e-9)


def test_terms_of_weight_zero_are_not_computed():
    config = replace(CONFIG, pixel_weight=0, object_weight=0, align_weight=0, geo_prototypes=0)
    student, objective, teacher = students_and_teacher(config)
    losses = objective.losses(student, teacher, [group(2, 0, s2=2)], **STEP)
    assert set(losses) == {"s2.image", "fused.image", "total"}
    objective.update_prototypes(student)
    assert not any("prototypes" in name for name in objective.stats)


def test_nothing_to_compare_is_no_loss():
    student, objective, teacher = students_and_teacher()
    blind = group(2, 0, s2=2)
    for inputs in blind.views:
        inputs.s2_valid[:] = False
    for groups in ([], [blind]):
        losses = objective.losses(student, teacher, groups, **STEP)
        assert losses["total"] == 0 and set(losses) == {"align", "total"}
        losses["total"].backward()
        objective.update_prototypes(student)
        assert objective.stats == {}


def test_a_view_without_a_modality_goes_without_it():
    student, objective, teacher = students_and_teacher()
    batch = group(2, 0, s2=2, s1=2)
    batch.views[1].s1 = batch.views[1].s1_valid = batch.views[1].s1_day = None
    batch.order["s1"][1].resize_(2, 0)
    losses = objective.losses(student, teacher, [batch], **STEP)
    assert "s2.pixel" in losses and "fused.pixel" in losses and "s1.pixel" not in losses


def test_padding_changes_nothing():
    student, objective, teacher = students_and_teacher()
    batch = group(3, 0, s2=3, s1=2)
    a = objective.losses(student, teacher, [batch], **STEP)
    b = objective.losses(student, teacher, [padded(batch)], **STEP)
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-12, atol=0)


def test_only_the_students_fused_features_move_the_prototypes():
    student, objective, teacher = students_and_teacher()
    batch = group(4, 0, s2=3)
    before = student.geo_context.prototypes.clone()
    objective.losses(student, teacher, [batch], **STEP)["total"].backward()
    assert torch.equal(student.geo_context.prototypes, before)  # the graph needed them
    objective.update_prototypes(student)
    moved = student.geo_context.prototypes.clone()
    assert not torch.equal(moved, before) and 0 < objective.stats["prototypes.usage"] <= 1
    assert teacher.model.geo_context.prototypes is student.geo_context.prototypes
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.mul_(1.5)
    student.geo_context.prototypes.copy_(before)
    objective.losses(student, teacher, [batch], **STEP)
    objective.update_prototypes(student)
    assert torch.equal(student.geo_context.prototypes, moved)


def test_the_seed_draws_the_places():
    student, objective, teacher = students_and_teacher(replace(CONFIG, align_weight=0, pixels_per_view=5))
    batch = [group(2, 0, s2=2)]
    first, again, other = (
        objective.losses(student, teacher, batch, teacher_temperature=0.05, seed=seed)["total"]
        for seed in (1, 1, 2)
    )
    assert first == again != other
