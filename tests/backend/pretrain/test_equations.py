"""A whole step against the equations, from the model's maps to every loss, with nothing of the objective's own code.

All that chance decides is taken out: every location of a view is drawn (`pixels_per_view`), all pixels are valid, and a
series has one date where the pixel level is concerned. Equations are those of the reference specification, 1.7, 2.1 and 2.2. Vectors are lists of numbers.
"""

import math
from types import SimpleNamespace

import pytest
import torch
from skysense.model.inputs import Inputs
from skysense.model.prototypes import cosine_scores, geo_context, sinkhorn
from skysense.model.skysense import SkySense
from skysense.pretrain.collate import Group
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective import Objective
from skysense.pretrain.optimiser import make_optimiser, set_rates
from skysense.pretrain.schedule import Rates
from skysense.pretrain.teacher import Teacher
from small_shapes import MINI, mini_config

SIDE, HR = 8, 8  # pixels of a view, HR pixels along one of them
PLACES = [(4.4, 51.2), (77.2, 28.6)]
CONFIG = PretrainConfig(
    head_hidden=16, head_bottleneck=8, head_outputs=12, object_clusters=3, pixels_per_view=SIDE * SIDE,
    geo_prototypes=4, geo_momentum=0.9,
)  # fmt: skip
TEACHER_TEMPERATURE = 0.05
#: Where (row, col) of a view lies in the window: the second view is shifted, and mirrored from left to right.
TO_WINDOW = ([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]], [[1.0, 0.0, 0.0], [0.0, -1.0, SIDE + 2.0]])


# The equations.


def dot(a, b):
    return sum(x * y for x, y in zip(a, b, strict=True))


def cosine(a, b):
    return dot(a, b) / math.sqrt(dot(a, a) * dot(b, b))


def softmax(scores):
    most = max(scores)
    shares = [math.exp(s - most) for s in scores]
    return [s / sum(shares) for s in shares]


def average(rows, weights):
    return [sum(w * row[c] for w, row in zip(weights, rows, strict=True)) / sum(weights) for c in range(len(rows[0]))]  # fmt: skip


def sinkhorn_knopp(scores, epsilon, iterations):
    """diag(a) exp(scores / epsilon) diag(b): columns to equal mass and then rows to 1, `iterations` times."""
    plan = [[math.exp(s / epsilon) for s in row] for row in scores]
    rows, columns = len(plan), len(plan[0])
    for _ in range(iterations):
        mass = [sum(row[k] for row in plan) for k in range(columns)]
        plan = [[p / mass[k] * rows / columns for k, p in enumerate(row)] for row in plan]
        plan = [[p / sum(row) for p in row] for row in plan]
    return plan


def head(heads, kind, x):
    """Three linear layers with GELU between them, then cosines with the outputs; x (C,), (K,)."""
    part = heads.heads[kind]
    for number, layer in enumerate((part.mlp[0], part.mlp[2], part.mlp[4])):
        x = layer.weight @ x + layer.bias
        x = x * (1 + torch.erf(x / math.sqrt(2))) / 2 if number < 2 else x
    return (part.outputs @ x / (part.outputs.square().sum(1).sqrt() * x.square().sum().sqrt())).tolist()


def l_cl(world, kind, pairs):
    """Mean over pairs of (student's, teacher's) features of -sum_k q_k log softmax(student's scores / 0.1)_k."""
    student = [head(world.objective.heads, kind, torch.tensor(x, dtype=torch.float64)) for x, _ in pairs]
    teacher = [head(world.teacher.heads, kind, torch.tensor(y, dtype=torch.float64)) for _, y in pairs]
    targets = sinkhorn_knopp(teacher, TEACHER_TEMPERATURE, CONFIG.sinkhorn_iterations)
    rows = [
        -dot(q, [math.log(p) for p in softmax([s / CONFIG.student_temperature for s in scores])])
        for q, scores in zip(targets, student, strict=True)
    ]
    return sum(rows) / len(rows)


def clusters(points, count):
    """Spherical k-means with Sinkhorn's assignment, from the point nearest to the mean and then the farthest ones."""
    points = [[c / math.sqrt(dot(p, p)) for c in p] for p in points]
    middle = [sum(column) for column in zip(*points, strict=True)]
    centres = [max(points, key=lambda p: dot(p, middle))]
    while len(centres) < count:
        centres.append(min(points, key=lambda p: max(dot(p, c) for c in centres)))
    for turn in range(CONFIG.cluster_rounds + 1):
        scores = [[cosine(p, c) for c in centres] for p in points]
        plan = sinkhorn_knopp(scores, CONFIG.sinkhorn_epsilon, CONFIG.sinkhorn_iterations)
        if turn < CONFIG.cluster_rounds:
            centres = [average(points, [row[k] for row in plan]) for k in range(count)]
    return plan


def info_nce(a, b):
    """Sum over rows of -log softmax(cosines with all rows of b / temperature) at the row's own."""
    scores = [[cosine(x, y) / CONFIG.align_temperature for y in b] for x in a]
    return -sum(math.log(softmax(row)[i]) for i, row in enumerate(scores))


# A small world.


def view(samples, dates, seed):
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(samples, *shape, dtype=torch.float64, generator=g)

    def all_valid(*shape):
        return torch.ones(samples, *shape, dtype=torch.bool)

    days = {name: torch.randint(1, 365, (samples, dates), generator=g) for name in ("s2", "s1")}
    return Inputs(
        hr=normal(3, SIDE * HR, SIDE * HR), hr_valid=all_valid(SIDE * HR, SIDE * HR),
        hr_day=torch.full((samples,), 100), hr_per_base=HR,
        s2=normal(dates, 10, SIDE, SIDE), s2_valid=all_valid(dates, SIDE, SIDE), s2_day=days["s2"],
        s1=normal(dates, 2, SIDE, SIDE), s1_valid=all_valid(dates, SIDE, SIDE), s1_day=days["s1"],
        region=torch.tensor([PLACES[b % 2] for b in range(samples)], dtype=torch.float64),
    )  # fmt: skip


def make_world(dates=1, samples=3):
    torch.manual_seed(0)
    student = SkySense(mini_config(PLACES, CONFIG)).double().train()
    objective = Objective(student.config, CONFIG).double()
    student.geo_context.prototypes.normal_()
    with torch.no_grad():  # a fresh one's zeros would hide what is added to what
        student.ctpe.normal_(std=0.1)
    teacher = Teacher(student, objective.heads)
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    views = (view(samples, dates, 1), view(samples, dates, 2))
    affine = tuple(torch.tensor([to] * samples, dtype=torch.float64) for to in TO_WINDOW)
    order = {name: tuple(getattr(v, f"{name}_day") + 18000 for v in views) for name in ("s2", "s1")}
    group = Group(views, affine, order, tuple(f"scene {b}" for b in range(samples)))
    return SimpleNamespace(student=student, objective=objective, teacher=teacher, group=group)


def losses(world):
    return world.objective.losses(
        world.student, world.teacher, [world.group], teacher_temperature=TEACHER_TEMPERATURE, seed=3
    )


@pytest.fixture(scope="module", params=[1, 2], ids=["one date", "two dates"])
def stepped(request):
    """A world, its losses, and the maps (B, T, C, h, w) of either model for each view."""
    torch.set_num_threads(1)
    world = make_world(dates=request.param)
    world.losses = {name: loss.item() for name, loss in losses(world).items()}
    with torch.no_grad():
        world.seen = [maps(world.student(v, series_maps=True)) for v in world.group.views]
        world.taught = [maps(world.teacher.model(v, series_maps=True)) for v in world.group.views]
    return world


def maps(features):
    hr = {f"hr_{i + 1}": x[:, None] for i, x in enumerate(features.hr)}
    return {**hr, "s2": features.s2, "s1": features.s1, "fused": features.fused[:, None]}


def shared_places():
    """Pixel centres of the first view, and where the second one shows the same ground."""
    found = []
    for row in range(SIDE):
        for col in range(SIDE):
            # view 0: window = (row + 1, col); view 1: window = (row, SIDE + 2 - col).
            there = (row + 0.5 + 1, SIDE + 2 - (col + 0.5))
            if 0 <= there[0] <= SIDE and 0 <= there[1] <= SIDE:
                found.append(((row + 0.5, col + 0.5), there))
    return found


def at(x, place):
    """Bilinear value of a map (C, h, w) of a view at a place, in pixels of the view."""
    size = x.shape[-1]
    y, z = (min(max(p * size / SIDE - 0.5, 0.0), size - 1.0) for p in place)
    value = torch.zeros(len(x), dtype=torch.float64)
    for i in range(size):
        for j in range(size):
            weight = max(0.0, 1 - abs(y - i)) * max(0.0, 1 - abs(z - j))
            value += weight * x[:, i, j] if weight else 0.0
    return value.tolist()


def images(world, kind):
    """Of each image of a student's view: its map, the teacher's to compare with, and their common places."""
    for s, t in ((0, 1), (1, 0)):
        mine, theirs = world.seen[s][kind], world.taught[t][kind]
        places = [(p[s], p[t]) for p in shared_places()]
        for b in range(len(mine)):
            for date in range(mine.shape[1]):
                partner = 0
                if kind in ("s2", "s1"):
                    days = world.group.order[kind]
                    apart = [abs(int(days[s][b, date]) - int(other)) for other in days[t][b]]
                    partner = apart.index(min(apart))
                yield mine[b, date], theirs[b, partner], places


# Multi-granularity contrastive learning (2.1).


def pixel(world, kind):
    pairs = [(at(x, p), at(y, q)) for x, y, places in images(world, kind) for p, q in places]
    return l_cl(world, kind, pairs)


def objects(world, kind):
    pairs = []
    for x, y, places in images(world, kind):
        mine, theirs = [at(x, p) for p, _ in places], [at(y, q) for _, q in places]
        plan = clusters(theirs, CONFIG.object_clusters)
        for k in range(CONFIG.object_clusters):
            weights = [row[k] for row in plan]
            pairs.append((average(mine, weights), average(theirs, weights)))
    return l_cl(world, kind, pairs)


def image(world, kind):
    pairs = []
    for x, y, _ in images(world, kind):
        cells = [[m[:, i, j].tolist() for i in range(m.shape[1]) for j in range(m.shape[2])] for m in (x, y)]
        pairs.append(tuple(average(c, [1.0] * len(c)) for c in cells))
    return l_cl(world, kind, pairs)


@pytest.mark.parametrize(
    "stepped", [1], indirect=True, ids=["one date"]
)  # of more, chance deals places to dates
@pytest.mark.parametrize("kind", ["hr", "s2", "s1", "fused"])
def test_pixel_level(stepped, kind):
    """L_pix = 1 / (N_S T_i) sum L_CL(f_pix, f_pix'); of HR the mean over the stages' maps."""
    kinds = [f"hr_{stage}" for stage in (1, 2, 3, 4)] if kind == "hr" else [kind]
    expected = sum(pixel(stepped, each) for each in kinds) / len(kinds)
    assert stepped.losses[f"{kind}.pixel"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["hr", "s2", "s1", "fused"])
def test_object_level(stepped, kind):
    """L_obj = 1 / (N_C T_i) sum L_CL(f_obj, f_obj'), f_obj the centres of an image's clusters."""
    expected = objects(stepped, "hr_4" if kind == "hr" else kind)
    assert stepped.losses[f"{kind}.object"] == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("kind", ["hr", "s2", "s1", "fused"])
def test_image_level(stepped, kind):
    """L_img = 1 / T_i sum L_CL(F_img, F_img'), F_img the average of F_pix."""
    expected = image(stepped, "hr_4" if kind == "hr" else kind)
    assert stepped.losses[f"{kind}.image"] == pytest.approx(expected, rel=1e-10)


def test_alignment(stepped):
    """L_align = sum over i != j of L_MMCL(F_i, F_j) on the student's features; candidates are the samples of the view."""
    shared = {}
    for name in ("hr_4", "s2", "s1"):
        linear = stepped.objective.alignment.maps[name]
        for v in (0, 1):
            pooled = stepped.seen[v][name].mean((1, 3, 4))
            shared[name, v] = [(linear.weight @ x + linear.bias).tolist() for x in pooled]
    expected = 0.0
    for i in ("hr_4", "s2", "s1"):
        for j in ("hr_4", "s2", "s1"):
            if i != j:
                rows = sum(len(shared[i, v]) for v in (0, 1))
                expected += sum(info_nce(shared[i, v], shared[j, v]) for v in (0, 1)) / rows
    assert stepped.losses["align"] == pytest.approx(expected, rel=1e-10)


def test_the_terms_add_up_as_the_article_writes_them(stepped):
    """L_MGCL = sum over HR, Ms, SAR and fused of L_pix + L_obj + L_img, without weights; + beta L_align."""
    terms = [
        f"{kind}.{level}" for kind in ("hr", "s2", "s1", "fused") for level in ("pixel", "object", "image")
    ]
    assert stepped.losses.keys() == {*terms, "align", "total"}
    expected = sum(stepped.losses[term] for term in terms) + CONFIG.align_weight * stepped.losses["align"]
    assert stepped.losses["total"] == pytest.approx(expected, rel=1e-12)


def test_gradients_are_the_slope_of_the_loss_in_the_student_alone():
    """Of total as a function of the student's weights, teacher and prototypes held: nothing is cut off, nothing added."""
    world = make_world(samples=2)
    learn = [p for module in (world.student, world.objective) for p in module.parameters()]
    losses(world)["total"].backward()
    torch.manual_seed(1)
    direction = [torch.randn_like(p) * p.detach().square().mean().sqrt() for p in learn]
    slope = sum(float((p.grad * d).sum()) for p, d in zip(learn, direction) if p.grad is not None)
    values, step = [], 1e-6
    for sign in (1, -2):
        with torch.no_grad():
            for p, d in zip(learn, direction, strict=True):
                p.add_(sign * step * d)
            values.append(losses(world)["total"].item())
    assert abs(slope) > 1e-3
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(slope, rel=1e-6)


def test_no_gradient_reaches_a_teacher_that_could_take_it():
    world = make_world(samples=2)
    world.teacher.requires_grad_(True)
    losses(world)["total"].backward()
    assert all(p.grad is None for p in world.teacher.parameters())
    assert any(p.grad is not None and p.grad.any() for p in world.student.parameters())


# Geo-context prototypes (1.7 and 2.2).


def fused_before_attention(world, model):
    """F_fus^mm of both views, (B, D, h, w) each: what a model without geo-context gives."""
    geo, model.geo_context = model.geo_context, None
    with torch.no_grad():
        found = [model(v).fused for v in world.group.views]
    model.geo_context = geo
    return found


def test_fused_features_are_a_location_beside_its_attention_to_the_prototypes():
    """F_fus = Concat[F, softmax(F P^T / sqrt d) P], of student and teacher with the same P, before and after it moved."""
    world = make_world(samples=2)
    row = {region: r for r, region in enumerate(world.student.geo_context.region_ids.tolist())}
    regions = [m.region for m in world.student.geo_context.matches(world.group.views[0].region, 2)]
    assert len(set(regions)) == 2
    for moved in (False, True):
        if moved:
            before = world.student.geo_context.prototypes.clone()
            losses(world)
            world.objective.update_prototypes(world.student)
            assert not torch.equal(world.student.geo_context.prototypes, before)
        for model in (world.student, world.teacher.model):
            with torch.no_grad():
                whole = model(world.group.views[0]).fused
            plain = fused_before_attention(world, model)[0]
            for b, region in enumerate(regions):
                prototypes = world.student.geo_context.prototypes[row[region]].tolist()
                for y, x in ((0, 0), (3, 6), (7, 7)):
                    f = plain[b, :, y, x].tolist()
                    weights = softmax([dot(f, p) / math.sqrt(len(f)) for p in prototypes])
                    context = average(prototypes, weights)
                    assert whole[b, :, y, x].tolist() == pytest.approx(f + context, rel=1e-10, abs=1e-12)


def test_the_attention_in_plain_numbers():
    g = torch.Generator().manual_seed(0)
    features, prototypes = (torch.randn(n, 6, dtype=torch.float64, generator=g) for n in (5, 3))
    fused = geo_context(features, prototypes)
    for f, got in zip(features.tolist(), fused.tolist(), strict=True):
        weights = softmax([dot(f, p) / math.sqrt(6) for p in prototypes.tolist()])
        assert got == pytest.approx(f + average(prototypes.tolist(), weights), rel=1e-12)


def test_prototypes_follow_the_students_fused_features_of_both_views():
    """M = cosine(F, P_r), S = Sinkhorn(M) with columns that sum to 1, P_bar = S^T F, P_r <- m P_r + (1 - m) P_bar."""
    world = make_world()
    geo = world.student.geo_context
    old = geo.prototypes.clone()
    losses(world)
    world.objective.update_prototypes(world.student)
    plain = fused_before_attention(world, world.student)
    matches = geo.matches(world.group.views[0].region, 3)
    assert [m.source for m in matches] == ["own"] * 3
    for r, region in enumerate(geo.region_ids.tolist()):
        own = [
            plain[v][b, :, y, x].tolist()
            for v in (0, 1)
            for b in range(3)
            if matches[b].region == region
            for y in range(SIDE)
            for x in range(SIDE)
        ]
        assert len(own) in (SIDE * SIDE * 2, SIDE * SIDE * 4)
        prototypes = old[r].tolist()
        scores = [[cosine(f, p) for p in prototypes] for f in own]
        plan = sinkhorn_knopp(scores, CONFIG.sinkhorn_epsilon, CONFIG.sinkhorn_iterations)
        for k, prototype in enumerate(prototypes):
            centroid = average(own, [row[k] for row in plan])
            expected = [0.9 * p + 0.1 * c for p, c in zip(prototype, centroid, strict=True)]
            assert geo.prototypes[r, k].tolist() == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_nothing_but_the_moving_average_moves_prototypes():
    """Backward, optimiser with weight decay and teacher's update leave them to the bit."""
    world = make_world(samples=2)
    prototypes = world.student.geo_context.prototypes
    before = prototypes.clone()
    modules = [world.student, world.objective]
    taken = {id(p) for module in (*modules, world.teacher) for p in module.parameters()}
    assert id(prototypes) not in taken and not prototypes.requires_grad
    optimiser = make_optimiser(modules)
    set_rates(optimiser, Rates(lr=0.1, weight_decay=0.5, momentum=0.5, teacher_temperature=0.05))
    losses(world)["total"].backward()
    optimiser.step()
    world.teacher.update(world.student, world.objective.heads, 0.5)
    assert torch.equal(prototypes, before) and prototypes.grad is None
    world.objective.update_prototypes(world.student)
    assert not torch.equal(prototypes, before) and prototypes.grad_fn is None
    assert world.student.geo_context.prototypes is prototypes is world.teacher.model.geo_context.prototypes


# Sinkhorn-Knopp, and the teacher.


@pytest.mark.parametrize(("rows", "columns"), [(40, 7), (7, 7), (6, 9)])
def test_sinkhorns_marginals_and_form(rows, columns):
    """Rows sum to 1, columns to rows / columns, and log S - M / epsilon is a_i + b_k: the optimal plan and no other."""
    g = torch.Generator().manual_seed(rows)
    features, prototypes = (torch.randn(n, 5, dtype=torch.float64, generator=g) for n in (rows, columns))
    scores = cosine_scores(features, prototypes)
    for i in range(rows):
        for k in range(columns):
            expected = cosine(features[i].tolist(), prototypes[k].tolist())
            assert scores[i, k].item() == pytest.approx(expected, rel=1e-10, abs=1e-14)
    plan = sinkhorn(scores, epsilon=0.2, iterations=3000)
    assert plan.sum(1).tolist() == pytest.approx([1.0] * rows, rel=1e-12)
    assert plan.sum(0).tolist() == pytest.approx([rows / columns] * columns, rel=1e-10)
    scaling = plan.log() - scores / 0.2
    assert (scaling - scaling[:1] - scaling[:, :1] + scaling[0, 0]).abs().max() < 1e-10
    few = sinkhorn(scores, epsilon=0.2, iterations=2)
    for got, expected in zip(few.tolist(), sinkhorn_knopp(scores.tolist(), 0.2, 2), strict=True):
        assert got == pytest.approx(expected, rel=1e-11)


def test_the_teacher_is_the_moving_average_of_all_students_so_far():
    """theta' <- m theta' + (1 - m) theta, three times with different m."""
    torch.manual_seed(0)
    student, heads = SkySense(MINI).double(), torch.nn.Linear(3, 2).double()
    teacher = Teacher(student, heads)
    expected = [p.detach().clone() for p in (*student.parameters(), *heads.parameters())]
    for m in (0.9, 0.5, 0.99):
        with torch.no_grad():
            for p in (*student.parameters(), *heads.parameters()):
                p.add_(torch.randn_like(p))
        expected = [m * e + (1 - m) * p.detach() for e, p in zip(expected, (*student.parameters(), *heads.parameters()))]  # fmt: skip
        teacher.update(student, heads, m)
    for got, value in zip((*teacher.model.parameters(), *teacher.heads.parameters()), expected, strict=True):
        torch.testing.assert_close(got, value, rtol=1e-13, atol=1e-14)
