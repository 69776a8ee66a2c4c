import numpy as np
import pytest
from sklearn.metrics import f1_score
from skysense.finetune import witnesses
from skysense.finetune.scores import scores
from skysense.finetune.witnesses import LEVEL, Witnesses, bootstrap_weights, judge_witnesses


def _judge(true, shares, **options):
    return judge_witnesses(Witnesses(np.array(true), np.array(shares, float)), **options)[0]


def test_values_are_those_of_the_polygons():
    # Three polygons of class 0: 1, 1 and 1/2 right; three of class 1: all right.
    found = _judge([0, 0, 0, 1, 1, 1], [[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1], [0, 1]])
    assert found.value["recall"] == pytest.approx([5 / 6, 1])
    assert found.value["precision"] == pytest.approx([1, 6 / 7])
    assert found.value["oa"] == pytest.approx(11 / 12)
    assert found.value["iou"] == pytest.approx([5 / 6, 6 / 7])
    assert found.value["macro_f1"] == pytest.approx(found.value["f1"].mean())
    assert found.value["miou"] == pytest.approx(found.value["iou"].mean())


def test_classes_weigh_as_much_as_they_have_polygons():
    found = _judge([0] * 9 + [1] * 3, [[1, 0]] * 9 + [[1, 0]] * 3)  # class 1 is never found
    assert found.value["oa"] == pytest.approx(9 / 12)
    assert found.value["precision"].tolist() == pytest.approx([9 / 12, 0])
    assert found.interval("precision")[0, 1] == 0 < found.interval("precision")[1, 1]


def test_what_is_given_to_a_class_that_is_not_judged_is_wrong():
    found = _judge([0, 0, 0, 1, 1, 1], [[0.5, 0, 0.5]] * 3 + [[0, 1, 0]] * 3)
    assert found.value["recall"][0] == pytest.approx(0.5)
    # None of it lowers the precision of another class.
    assert found.value["precision"][1] == 1


def test_many_polygons_leave_the_figures_of_the_pixels():
    random = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 4000)
    given = np.where(random.random(12_000) < 0.3, random.integers(0, 3, 12_000), true)
    found, plain = _judge(true, np.eye(3)[given]), scores(true, given, [0, 1, 2])
    assert found.value["oa"] == pytest.approx(plain.oa, abs=1e-3)
    assert found.value["miou"] == pytest.approx(plain.miou, abs=1e-3)
    assert found.value["macro_f1"] == pytest.approx(f1_score(true, given, average="macro"), abs=1e-3)


def _jeffreys(right, wrong):
    """The 90 % interval of Beta(right + 1/2, wrong + 1/2), by its own sampling."""
    draws = np.random.default_rng(1).beta(right + 0.5, wrong + 0.5, 200_000)
    return pytest.approx(np.quantile(draws, [0.05, 0.95]), abs=0.03)


@pytest.mark.parametrize("polygons", [3, 5, 20])
def test_where_polygons_are_all_right_or_all_wrong_the_intervals_are_jeffreys(polygons):
    true = np.repeat([0, 1, 2], polygons)
    perfect = _judge(true, np.eye(3)[true])
    assert np.quantile(perfect.draws["recall"][:, 0], [0.05, 0.95]) == _jeffreys(polygons, 0)
    # Of all classes together there is one imagined polygon, not one for each.
    assert np.quantile(perfect.draws["oa"], [0.05, 0.95]) == _jeffreys(3 * polygons, 0)
    assert perfect.interval("oa")[0] < 1 == perfect.interval("oa")[1] == perfect.value["oa"]
    # One of each class is wrong.
    given = np.where(np.arange(3 * polygons) % polygons == 0, (true + 1) % 3, true)
    found = _judge(true, np.eye(3)[given])
    assert found.interval("recall")[:, 0] == _jeffreys(polygons - 1, 1)


def _worlds(classes, polygons, alpha, beta, count=150):
    """Judgements of drawings from worlds whose polygons are right to shares of Beta(alpha, beta), with errors of any class."""
    random = np.random.default_rng((classes, polygons))
    true = np.repeat(np.arange(classes), polygons)
    own = np.eye(classes, dtype=bool)[true]
    for world in range(count):
        right = random.beta(alpha, beta, len(true))
        shares = np.zeros(own.shape)
        shares[own] = right
        wrong = random.dirichlet(np.full(classes - 1, 0.3), len(true))
        shares[~own] = ((1 - right)[:, None] * wrong).ravel()
        yield _judge(true, shares, seed=world)


@pytest.mark.parametrize(("classes", "polygons"), [(2, 5), (4, 3), (6, 5)])
@pytest.mark.parametrize(("alpha", "beta"), [(9.7, 0.3), (2, 0.7)])  # 97 % and 74 % right on average
def test_the_figures_of_the_map_are_not_biased_and_their_intervals_hold(
    classes, polygons, alpha, beta, monkeypatch
):
    monkeypatch.setattr(witnesses, "_DRAWS", 200)
    mean = alpha / (alpha + beta)
    # Of every class: errors spread alike, so that as much is wrongly gained as is lost.
    truth = mean / (2 - mean)
    found = list(_worlds(classes, polygons, alpha, beta))
    assert np.mean([item.value["miou"] for item in found]) == pytest.approx(truth, abs=0.02)
    low, high = np.array([item.interval("miou") for item in found]).T
    assert np.mean((low <= truth) & (truth <= high)) >= 0.78


@pytest.mark.parametrize(("polygons", "least"), [(4, 0.84), (30, 0.84)])
def test_the_interval_holds_what_further_polygons_would_show(polygons, least):
    """Coverage of OA, on worlds whose polygons are partly right, as real ones are: Beta(2, 0.7) on average 74 %."""
    random = np.random.default_rng(polygons)
    inside = 0
    for world in range(60):
        right = random.beta(2, 0.7, 2 * polygons)
        true = np.repeat([0, 1], polygons)
        shares = np.where(np.eye(2)[true] == 1, right[:, None], 1 - right[:, None])
        low, high = _judge(true, shares, seed=world).interval("oa")
        inside += low <= 2 / 2.7 <= high
    assert least <= inside / 60
    assert LEVEL == 0.9


def test_the_interval_narrows_with_polygons():
    widths = []
    for polygons in (3, 12, 48):
        shares = np.tile([[0.9, 0.1], [0.5, 0.5], [0.7, 0.3]], (polygons // 3, 1))
        low, high = _judge(np.repeat([0, 1], polygons), np.vstack((shares, shares[:, ::-1]))).interval("oa")
        widths.append(high - low)
    assert widths[0] > 1.5 * widths[1] > 2.2 * widths[2] > 0


def test_differences_are_paired():
    """Polygons that are hard for both maps: the difference is surer than either."""
    random = np.random.default_rng(0)
    right = random.random(20)
    true = np.repeat([0, 1], 10)

    def world(right):
        return Witnesses(true, np.where(np.eye(2)[true] == 1, right[:, None], 1 - right[:, None]))

    one, two = judge_witnesses(world(right), world(np.clip(right - 0.05, 0, 1)))
    spread = np.ptp(np.quantile(one.draws["oa"] - two.draws["oa"], [0.05, 0.95]))
    assert spread < 0.2 * np.ptp(one.interval("oa"))


def test_the_same_seed_gives_the_same_interval():
    data = [0, 0, 0, 1, 1, 1], [[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 3
    assert np.array_equal(_judge(*data).interval("f1"), _judge(*data).interval("f1"))


@pytest.mark.parametrize("block", [None, np.arange(9), np.arange(9)[::-1] + 3])
def test_where_every_polygon_is_a_block_the_draws_are_those_without_blocks(block):
    random = np.random.default_rng(4)
    true, shares = np.repeat([0, 1], [5, 4]), random.dirichlet([2, 1], 9)
    (found,) = judge_witnesses(Witnesses(true, shares, block))
    # As they were before there were blocks, to the bit.
    assert found.interval("oa").tolist() == [0.29710088155043146, 0.5541783443723892]
    assert found.interval("iou").tolist() == [
        [0.21332673528835916, 0.08570640905918751],
        [0.44665533055314954, 0.3600271398834351],
    ]
    assert found.draws["miou"][:2].tolist() == [0.3347400308239574, 0.19060508447360852]


def test_a_block_weighs_as_much_as_it_has_polygons_and_its_polygons_weigh_alike():
    """But for the little that draws of large blocks take from themselves, since all add up to 1."""
    blocks = np.array([7, 2, 2, 5, 5, 5, 2, 5, 9, 9, 4, 4])
    weights = bootstrap_weights(blocks, (0.5, 0.5), 20_000, (0,))
    assert weights.shape == (20_000, 14) and np.allclose(weights.sum(1), 1)
    assert np.array_equal(weights[:, 1], weights[:, 2]) and np.array_equal(weights[:, 4], weights[:, 7])
    mean = weights.mean(0)
    # The imagined one counts as much as a block of average size, here of twelve polygons in five.
    assert mean[:12] == pytest.approx(np.full(12, 1 / 14.4), rel=0.15)
    assert mean[12:].sum() == pytest.approx(2.4 / 14.4, rel=0.15)
    # A draw of one block moves its whole.
    spread = [np.std(weights[:, :12][:, blocks == number].sum(1)) for number in (7, 2, 5)]
    assert spread[0] < spread[1] < spread[2]
