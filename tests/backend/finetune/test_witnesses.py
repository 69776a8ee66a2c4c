import numpy as np
import pytest
from sklearn.metrics import f1_score
from skysense.finetune.scores import scores
from skysense.finetune.witnesses import LEVEL, Witnesses, judge_witnesses


def _judge(true, shares, **options):
    return judge_witnesses(Witnesses(np.array(true), np.array(shares, float)), **options)[0]


def test_values_are_those_of_the_polygons_and_one_half_right_one():
    # Three polygons of class 0: 1, 1 and 1/2 right; three of class 1: all right. Of four witnesses each: 3/4 and 7/8.
    found = _judge([0, 0, 0, 1, 1, 1], [[1, 0], [1, 0], [0.5, 0.5], [0, 1], [0, 1], [0, 1]])
    assert found.value["recall"] == pytest.approx([3 / 4, 7 / 8])
    assert found.value["precision"] == pytest.approx([0.75 / (0.75 + 0.125), 0.875 / (0.875 + 0.25)])
    assert found.value["oa"] == pytest.approx((3 / 4 + 7 / 8) / 2)
    assert found.value["iou"] == pytest.approx([0.75 / (1 + 0.125), 0.875 / (1 + 0.25)])
    assert found.value["macro_f1"] == pytest.approx(found.value["f1"].mean())
    assert found.value["miou"] == pytest.approx(found.value["iou"].mean())


def test_classes_weigh_as_much_as_they_have_polygons():
    shares = [[1, 0]] * 9 + [[1, 0]] * 3  # class 1 is never found
    found = _judge([0] * 9 + [1] * 3, shares)
    assert found.value["oa"] == pytest.approx((9 * 9.5 / 10 + 3 * 0.5 / 4) / 12)


def test_what_is_given_to_a_class_that_is_not_judged_is_wrong():
    found = _judge([0, 0, 0, 1, 1, 1], [[0.5, 0, 0.5]] * 3 + [[0, 1, 0]] * 3)
    assert found.value["recall"][0] == pytest.approx((3 * 0.5 + 0.5) / 4)
    # None of it lowers the precision of another class.
    assert found.value["precision"][1] == pytest.approx((3.5 / 4) / (3.5 / 4 + 0.25 / 4))


def test_many_polygons_leave_the_figures_of_the_pixels():
    random = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 4000)
    given = np.where(random.random(12_000) < 0.3, random.integers(0, 3, 12_000), true)
    found, plain = _judge(true, np.eye(3)[given]), scores(true, given, [0, 1, 2])
    assert found.value["oa"] == pytest.approx(plain.oa, abs=1e-3)
    assert found.value["miou"] == pytest.approx(plain.miou, abs=1e-3)
    assert found.value["macro_f1"] == pytest.approx(f1_score(true, given, average="macro"), abs=1e-3)


@pytest.mark.parametrize("polygons", [3, 5, 20])
def test_without_an_error_the_interval_is_jeffreys(polygons):
    found = _judge(np.repeat([0, 1], polygons), np.eye(2)[np.repeat([0, 1], polygons)])
    # Of Beta(n + 1/2, 1/2), by its own sampling.
    beta = np.random.default_rng(1).beta(polygons + 0.5, 0.5, 200_000)
    low, high = np.quantile(found.draws["recall"][:, 0], [0.05, 0.95])
    assert (low, high) == pytest.approx(np.quantile(beta, [0.05, 0.95]), abs=0.02)
    assert found.interval("oa")[0] < 1 == found.interval("oa")[1]


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
