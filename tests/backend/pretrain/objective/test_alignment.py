import objective_equations as equations
import pytest
import torch
from skysense.pretrain.objective.alignment import Alignment

DIMS = {"hr_4": 6, "s2": 5, "s1": 5}


@pytest.fixture
def alignment():
    torch.manual_seed(0)
    return Alignment(DIMS, 4, 0.1).double()


def rows(count):
    generator = torch.Generator().manual_seed(1)
    return {
        name: torch.randn(count, dim, dtype=torch.float64, generator=generator) for name, dim in DIMS.items()
    }


def test_the_loss_is_its_equation(alignment):
    features, valid = rows(8), {name: torch.ones(8, dtype=torch.bool) for name in DIMS}
    valid["hr_4"][[0, 3]] = False
    valid["s1"][3] = False
    shared = {name: alignment.maps[name](x).tolist() for name, x in features.items()}
    expected = 0.0
    for i in DIMS:
        for j in DIMS:
            if i == j:
                continue
            both = [r for r in range(8) if valid[i][r] and valid[j][r]]
            # candidates are the samples of the same view: rows 0..3 and 4..7
            parts = []
            for view in (range(4), range(4, 8)):
                own = [r for r in both if r in view]
                a, b = [shared[i][r] for r in own], [shared[j][r] for r in own]
                parts.append(equations.info_nce(a, b, 0.1) * len(own))
            expected += sum(parts) / len(both)
    loss = alignment(features, valid, torch.arange(8) // 4)
    assert loss.item() == pytest.approx(expected, rel=1e-12)


def test_modalities_that_never_meet_have_no_loss_but_a_graph(alignment):
    features, valid = rows(4), {name: torch.zeros(4, dtype=torch.bool) for name in DIMS}
    valid["s2"][:2] = True
    valid["s1"][2:] = True
    loss = alignment(features, valid, torch.zeros(4, dtype=torch.int64))
    assert loss == 0
    loss.backward()
    assert not alignment.maps["s2"].weight.grad.any()


def test_alike_modalities_cost_less_than_unlike_ones(alignment):
    alignment.maps["s1"].load_state_dict(alignment.maps["s2"].state_dict())
    features, valid = rows(6), {name: torch.ones(6, dtype=torch.bool) for name in DIMS}
    valid["hr_4"][:] = False
    view = torch.zeros(6, dtype=torch.int64)
    unlike = alignment(features, valid, view)
    assert alignment({**features, "s1": features["s2"]}, valid, view) < 0.5 * unlike
