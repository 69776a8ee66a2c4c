"""The linear classifier that the backbone is adapted with; the head of the model file is fitted afterwards, in closed form.

It begins as the discriminants of the base model's features: from a random one, the first steps would distort what the
backbone knows (Kumar et al. 2022, Fine-tuning can distort pretrained features: LP-FT).

Shape legend: N pixels, F features, K classes.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from skysense.finetune.features import Block
from skysense.finetune.head import fit_head


class Classifier(nn.Module):
    """Class scores of features that are standardised as the base model's were.

    Attributes:
        mean, std: (F,) of the base model's features at labelled pixels.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("std", torch.ones(features))
        self.linear = nn.Linear(features, classes)

    def forward(self, x_NF: Tensor) -> Tensor:
        """(N, F) -> (N, K)."""
        out: Tensor = self.linear((x_NF - self.mean) / self.std)
        return out


def first_classifier(
    x: NDArray[np.float32], target: NDArray[np.int64], classes: int, blocks: tuple[Block, ...]
) -> Classifier:
    """The discriminants of features (N, F) of classes (N,) 0..K-1, as a classifier to begin with."""
    head, _ = fit_head(x, target, [[]], blocks)
    classifier = Classifier(x.shape[1], classes)
    values = torch.from_numpy(x)
    with torch.no_grad():
        classifier.mean.copy_(values.mean(0))
        std = values.std(0, unbiased=False)
        classifier.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        weight, bias = head.weight / head.temperature, head.bias / head.temperature
        classifier.linear.weight.zero_()
        classifier.linear.bias.zero_()
        classifier.linear.weight[list(head.ids)] = weight * classifier.std
        classifier.linear.bias[list(head.ids)] = bias + weight @ classifier.mean
    return classifier
