"""Extremely randomised trees as tensors: fitted by scikit-learn, kept in a model file, applied on any device.

Geurts, Ernst and Wehenkel 2006, Extremely randomized trees. They see spectral values and their neighbourhoods only: on the
labelled scenes the model's features add nothing to them, and everything to their cost.

Trees of classes hold the classes' probabilities at a leaf; trees of numbers hold the mean of the numbers there and the mean of
their squares, so that they tell the spread as well (Meinshausen 2006, Quantile regression forests, has the whole distribution).

Shape legend: N pixels, F features, K classes (of numbers: 2), T trees, M nodes of all trees.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, ExtraTreesRegressor
from torch import Tensor

_LEAF = 2
#: Pixels of a class that they see: enough for a class's variety, and soon fitted.
_PIXELS_PER_CLASS = 200
#: Of numbers: pixels that they see in all, and the share of the features that a node chooses from, or their least number.
_PIXELS_WITH_VALUES = 4_000
_SEEN, _SEEN_AT_LEAST = 0.1, 8
#: Added to each probability: a class that no tree votes for is unlikely, not impossible.
_FLOOR = 1e-3
#: Pixels that are taken down the trees at a time: on a CPU their features stay in its caches, elsewhere they fill the device.
_CPU_ROWS, _DEVICE_ROWS = 1_000, 250_000


@dataclass(frozen=True)
class Growth:
    """How many trees, and how deep at most."""

    trees: int
    depth: int


USUAL = Growth(100, 12)
#: Of HR pictures, which have a hundred times as many pixels and few values each: from 20 trees of depth 8 to 60 of depth 12 the
#: labelled HR scenes' redrawn polygons are mapped the same within a point of mIoU.
OF_PICTURES = Growth(20, 8)


@dataclass(frozen=True)
class Trees:
    """An ensemble; a leaf is its own child.

    Attributes:
        feature: (M,) int32 column that a node looks at.
        threshold: (M,) float32; up to it the way goes to `left`, beyond to `right`.
        left, right: (M,) int32 nodes.
        probability: (M, K) float32 of the classes at a leaf; of numbers their mean there and that of their squares.
        roots: (T,) int32 nodes.
        depth: () int32, nodes from a root to the deepest leaf.
    """

    feature: Tensor
    threshold: Tensor
    left: Tensor
    right: Tensor
    probability: Tensor
    roots: Tensor
    depth: Tensor

    def tensors(self) -> dict[str, Tensor]:
        return {f"head.trees.{name}": tensor for name, tensor in vars(self).items()}

    @classmethod
    def load(cls, tensors: dict[str, Tensor]) -> "Trees":
        """The inverse of `tensors`."""
        return cls(**{name: tensors[f"head.trees.{name}"] for name in cls.__dataclass_fields__})

    def to(self, device: torch.device) -> "Trees":
        # The depth stays where Python reads it.
        moved = {name: tensor.to(device) for name, tensor in vars(self).items() if name != "depth"}
        return Trees(**moved, depth=self.depth)

    def scores(self, x: Tensor) -> Tensor:
        """Logarithm of the trees' mean probability (N, K) of the classes at features (N, F)."""
        mean = self.means(x)
        return ((mean + _FLOOR) / (1 + _FLOOR * mean.shape[1])).log()

    def means(self, x: Tensor) -> Tensor:
        """Mean over the trees of what their leaves hold (N, K), at features (N, F)."""
        # Places in the table are counted in 32 bits.
        rows = _CPU_ROWS if x.device.type == "cpu" else min(_DEVICE_ROWS, (2**31 - 1) // x.shape[1])
        return torch.cat([self._means(part) for part in x.split(rows)])

    def _means(self, x: Tensor) -> Tensor:
        values, features = x.contiguous().view(-1), x.shape[1]
        row = torch.arange(0, len(x) * features, features, dtype=torch.int32, device=x.device)
        row = row.repeat_interleave(len(self.roots))
        children = torch.stack([self.left, self.right], 1).view(-1)
        node = self.roots.repeat(len(x))
        for _ in range(int(self.depth)):
            value = values.index_select(0, row + self.feature.index_select(0, node))
            beyond = value > self.threshold.index_select(0, node)
            node = children.index_select(0, 2 * node + beyond)
        return F.embedding_bag(node.view(len(x), -1), self.probability, mode="mean")


def fit_trees(
    x: NDArray[np.float32], target: NDArray[np.int64], classes: int, growth: Growth = USUAL, seed: int = 0
) -> Trees:
    """Fit to pixels (N, F) of classes (N,) 0..K-1, each class with the same weight."""
    random = np.random.default_rng(seed)
    kept = [random.permutation(np.flatnonzero(target == k))[:_PIXELS_PER_CLASS] for k in np.unique(target)]
    chosen = np.sort(np.concatenate(kept))
    ensemble = ExtraTreesClassifier(
        growth.trees,
        min_samples_leaf=_LEAF,
        max_depth=growth.depth,
        class_weight="balanced",
        random_state=seed,
        n_jobs=-1,
    ).fit(x[chosen], target[chosen])

    def shares(tree: Any) -> NDArray[np.float32]:
        value = np.zeros((tree.node_count, classes), np.float32)
        value[:, ensemble.classes_] = tree.value[:, 0] / tree.value[:, 0].sum(1, keepdims=True)
        return value

    return _as_tensors(ensemble.estimators_, shares)


def fit_value_trees(
    x: NDArray[np.float32], values: NDArray[np.float64], weights: NDArray[np.float64], seed: int = 0
) -> Trees:
    """Fit to pixels (N, F) and their numbers (N,), whose mean should be near 0 and whose spread near 1."""
    random = np.random.default_rng(seed)
    chosen = np.sort(random.permutation(len(x))[:_PIXELS_WITH_VALUES])
    seen = min(x.shape[1], max(_SEEN_AT_LEAST, int(_SEEN * x.shape[1])))
    ensemble = ExtraTreesRegressor(
        USUAL.trees,
        min_samples_leaf=_LEAF,
        max_depth=USUAL.depth,
        max_features=seen,
        random_state=seed,
        n_jobs=-1,
    ).fit(x[chosen], values[chosen], weights[chosen])

    def moments(tree: Any) -> NDArray[np.float32]:
        mean = tree.value[:, 0, 0]  # the impurity is the variance
        return np.stack([mean, mean**2 + tree.impurity], 1).astype(np.float32)

    return _as_tensors(ensemble.estimators_, moments)


def _as_tensors(members: list[Any], held: Callable[[Any], NDArray[np.float32]]) -> Trees:
    """Fitted trees of scikit-learn; `held` gives what each node of one holds, (nodes, K)."""
    parts: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "probability", "roots")
    }
    first = 0
    for member in members:
        tree = member.tree_
        own = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        parts["feature"].append(np.where(leaf, 0, tree.feature).astype(np.int32))
        parts["threshold"].append(tree.threshold.astype(np.float32))
        parts["left"].append((first + np.where(leaf, own, tree.children_left)).astype(np.int32))
        parts["right"].append((first + np.where(leaf, own, tree.children_right)).astype(np.int32))
        parts["probability"].append(held(tree))
        parts["roots"].append(np.array([first], np.int32))
        first += tree.node_count
    depth = max(member.get_depth() for member in members)
    joined = {name: torch.from_numpy(np.concatenate(arrays)) for name, arrays in parts.items()}
    return Trees(**joined, depth=torch.tensor(depth, dtype=torch.int32))
