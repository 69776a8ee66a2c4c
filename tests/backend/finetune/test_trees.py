import numpy as np
import torch
from sklearn.ensemble import ExtraTreesClassifier
from skysense.finetune.trees import USUAL, Trees, fit_trees


def _samples(pixels=240, dims=6):
    random = np.random.default_rng(0)
    x = random.normal(size=(pixels, dims)).astype(np.float32)
    # A rule that no linear head can learn: the sign of a product.
    return x, (x[:, 0] * x[:, 1] > 0).astype(np.int64) + (x[:, 2] > 1.2)


def test_probabilities_are_those_of_the_library():
    x, target = _samples()
    trees = fit_trees(x, target, 3)
    library = ExtraTreesClassifier(
        USUAL.trees, min_samples_leaf=2, max_depth=12, class_weight="balanced", random_state=0
    ).fit(x, target)
    new = np.random.default_rng(1).normal(size=(500, 6)).astype(np.float32)
    expected = library.predict_proba(new)
    got = trees.scores(torch.from_numpy(new)).exp().numpy()
    np.testing.assert_allclose(got * (1 + 3e-3) - 1e-3, expected, atol=1e-5)


def test_they_learn_what_is_not_linear_and_a_class_that_is_absent_is_unlikely():
    x, target = _samples()
    trees = fit_trees(x[target < 2], target[target < 2], 4)
    scores = trees.scores(torch.from_numpy(x))
    assert torch.isfinite(scores).all() and scores[:, 2:].exp().max() < 0.01
    kept = target < 2
    assert (scores.argmax(1).numpy()[kept] == target[kept]).mean() > 0.95


def test_tensors_give_them_back():
    x, target = _samples()
    trees = fit_trees(x, target, 3)
    again = Trees.load(trees.tensors())
    assert torch.equal(again.scores(torch.from_numpy(x)), trees.scores(torch.from_numpy(x)))
