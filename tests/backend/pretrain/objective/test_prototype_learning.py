import objective_equations as equations
import pytest
import torch
from skysense.model.config import GeoConfig
from skysense.model.geocontext import GeoContext
from skysense.model.presets import preset
from skysense.model.regions import region_id
from skysense.pretrain.config import PretrainConfig
from skysense.pretrain.objective.geo import learn_prototypes, with_regions

CONFIG = PretrainConfig(geo_prototypes=3, geo_momentum=0.9)


@pytest.fixture
def geo():
    torch.manual_seed(0)
    module = GeoContext(4, 3, (7, 9, 12)).double()
    module.prototypes[1].normal_()
    return module


def test_the_update_is_its_equation(geo):
    features = torch.randn(10, 4, dtype=torch.float64)
    region = torch.tensor([9, 7, 9, 9, 9, 7, 9, 9, 9, 9])
    old, own = geo.prototypes[1].tolist(), features[region == 9].tolist()
    usage = learn_prototypes(geo, features, region, CONFIG)
    plan = equations.sinkhorn([[equations.cosine(f, p) for p in old] for f in own], 0.05, 3)
    for k, prototype in enumerate(old):
        centroid = equations.mean(own, [row[k] for row in plan])  # the columns of S sum to 1
        expected = [0.9 * p + 0.1 * c for p, c in zip(prototype, centroid)]
        assert geo.prototypes[1, k].tolist() == pytest.approx(expected, rel=1e-12)
    # Region 7 has fewer locations than prototypes, region 12 none.
    assert set(usage) == {9} and not geo.prototypes[[0, 2]].any()
    nearest = {max(range(3), key=lambda k: equations.cosine(f, geo.prototypes[1, k].tolist())) for f in own}
    assert usage[9] == (len(nearest) - 1) / (3 - 1)


def test_a_new_region_starts_with_spread_out_features(geo):
    features = torch.randn(6, 4, dtype=torch.float64)
    learn_prototypes(geo, features, torch.full((6,), 12), CONFIG)
    length = features.norm(dim=1).mean()
    expected = torch.tensor(equations.farthest_first(features.tolist(), 3), dtype=torch.float64) * length
    torch.testing.assert_close(geo.prototypes[2], expected)


def test_no_gradient_reaches_prototypes_or_comes_from_them(geo):
    features = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    learn_prototypes(geo, features, torch.full((6,), 9), CONFIG)
    assert not geo.prototypes.requires_grad and features.grad is None


def test_the_model_gets_the_regions_of_all_places():
    antwerp, near, delhi = (4.4, 51.2), (4.41, 51.21), (77.2, 28.6)
    model = with_regions(preset("tiny"), [antwerp, near, delhi], CONFIG)
    assert model.geo == GeoConfig(3, tuple(sorted({region_id(*antwerp), region_id(*delhi)})))
    more = with_regions(model, [(139.7, 35.7)], PretrainConfig(geo_prototypes=16))
    assert more.geo.prototypes == 3 and set(more.geo.regions) == {*model.geo.regions, region_id(139.7, 35.7)}
    assert with_regions(model, [delhi], PretrainConfig(geo_prototypes=0)).geo is None
