"""One training by gradient: from the base model to an adapted one, step by step.

What a step does depends on (seed, step, weights) alone. Source of the loss: cross-entropy over the labelled pixels of a step.
"""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.utils import parametrize

from skysense.errors import InputError
from skysense.finetune.deep.classifier import first_classifier
from skysense.finetune.deep.pixels import Pixels, weights
from skysense.finetune.deep.plan import Plan, layer_scale
from skysense.finetune.deep.sparse_features import features_at, model_blocks
from skysense.finetune.deep.views import Viewer, on_device
from skysense.finetune.deep.weights import Trained
from skysense.finetune.head import fit_head
from skysense.model.skysense import SkySense
from skysense.pretrain.optimiser import clip, make_optimiser, set_rates
from skysense.pretrain.recompute import recompute_layers
from skysense.pretrain.schedule import rates
from skysense.pretrain.state import optimiser_tensors
from skysense.scene.sensors import Modality

#: Views of a step: one shows the classes of one tile only.
VIEWS = 2
#: Labelled pixels of a polygon that held-out polygons are judged by while training: their mean is soon known.
_LOOKED_AT = 30


@dataclass(frozen=True)
class Material:
    """What trainings of one scene share.

    Attributes:
        pixels: the labelled pixels; viewer: makes views of their tiles.
        modalities: that the model sees; scale: compute pixels per base pixel side.
        device: where the model runs.
        seed: of everything that is drawn.
    """

    pixels: Pixels
    viewer: Viewer
    modalities: tuple[Modality, ...]
    scale: int
    device: torch.device
    seed: int

    def table(self, model: SkySense, places: NDArray[np.int64]) -> NDArray[np.float32]:
        """(n, F) the model's features at some of the pixels, as a map is made from them."""
        blocks = model_blocks(model.config, self.modalities)
        out = np.zeros((len(self.pixels.target), sum(block.dim for block in blocks)), np.float32)
        training = model.training
        model.eval()
        with torch.no_grad(), parametrize.cached():
            for view in self.viewer.still(places):
                inputs = on_device(view.inputs, self.device)
                x, _ = features_at(model, inputs, view.rows, view.cols, blocks, self.scale)
                out[view.places] = x.cpu().numpy()
        model.train(training)
        return out[places]

    def held_out_loss(self, model: SkySense, polygons: NDArray[np.int64]) -> float:
        """Cross-entropy at held-out polygons of a head in closed form on the model's features, which is what will map.

        Its probabilities are calibrated first, so that adapted features that are right but too sure do not count as worse.
        """
        places = self.pixels.few(_LOOKED_AT)
        x, target = self.table(model, places), self.pixels.target[places]
        out = np.isin(self.pixels.polygons[places], polygons)
        fold = (np.flatnonzero(~out), np.flatnonzero(out))
        _, (given,) = fit_head(x, target, [[fold]], model_blocks(model.config, self.modalities))
        weight = weights(self.pixels, places[out])[places[out]]
        classes = np.unique(target)
        right = given[fold[1], np.searchsorted(classes, target[out])]
        return float(-(weight * np.log(np.maximum(right, 1e-12))).sum())


class Training:
    """A twin and its classifier while they learn; a `adapt.Learner`.

    Args:
        trained: what learns, from `weights.prepare`.
        places: of the pixels to learn from.
        number: of this training, for its draws.
    """

    views = VIEWS

    def __init__(
        self, trained: Trained, material: Material, places: NDArray[np.int64], plan: Plan, number: int
    ) -> None:
        self.trained, self._material, self._plan, self._number = trained, material, plan, number
        self._weight = weights(material.pixels, places)
        model, pixels = trained.model, material.pixels
        self._blocks = model_blocks(model.config, material.modalities)
        known = np.intersect1d(places, pixels.few(_LOOKED_AT))
        x = material.table(model, known)
        self.classifier = first_classifier(x, pixels.target[known], len(pixels.classes), self._blocks)
        self.classifier.to(material.device)
        if trained.mode == "full":
            recompute_layers(model)
        scale = layer_scale(model.config) if trained.mode == "full" else lambda name: 1.0
        self._optimiser = make_optimiser([model, self.classifier], scale)

    def step(self, step: int) -> tuple[float, float]:
        """Do step number `step`, from 0; the loss before it, and the learning rate.

        Raises:
            InputError: the loss or a gradient is no number; nothing was changed.
        """
        now = rates(step, self._plan.rates)
        seed = (self._material.seed, self._number, step)
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))  # of the drop path
        self.trained.model.train()
        set_rates(self._optimiser, now)
        self._optimiser.zero_grad(set_to_none=True)
        with parametrize.cached():  # an update is added to its weight once a step
            loss = sum(self._losses(seed), start=torch.zeros((), device=self._material.device)) / VIEWS
            if loss.requires_grad:  # else no view of this step shows a labelled pixel
                loss.backward()  # type: ignore[no-untyped-call]
            total = float(loss.detach())
        norm = clip([self.trained.model, self.classifier], self._plan.rates.clip)
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise InputError(
                f"the loss of step {step + 1} is not a number",
                f"training in the mode {self.trained.mode}",
                'Train in the mode "head", or with --precision float32',
            )
        self._optimiser.step()
        return total, now.lr

    def tensors(self) -> dict[str, Tensor]:
        """Everything that learns or remembers: the very tensors, by name, for `pretrain.state`."""
        own = {f"model.{name}": p.detach() for name, p in self.trained.parameters.items()}
        own |= {f"classifier.{name}": t for name, t in self.classifier.state_dict().items()}
        modules = {"model": self.trained.model, "classifier": self.classifier}
        return own | optimiser_tensors(self._optimiser, modules)

    def learned(self) -> dict[str, Tensor]:
        """For the model file."""
        return self.trained.tensors()

    def held_out_loss(self, polygons: NDArray[np.int64]) -> float:
        """See `Material.held_out_loss`, of the model as it is now."""
        return self._material.held_out_loss(self.trained.model, polygons)

    def _losses(self, seed: tuple[int, ...]) -> Iterator[Tensor]:
        """The loss of each view of a step that shows a labelled pixel."""
        device, pixels = self._material.device, self._material.pixels
        half = torch.autocast(device.type, torch.bfloat16) if device.type == "cuda" else nullcontext()
        for number in range(VIEWS):
            view = self._material.viewer.augmented(self._weight, (*seed, number))
            with half:
                x, seen = features_at(
                    self.trained.model,
                    on_device(view.inputs, device),
                    view.rows,
                    view.cols,
                    self._blocks,
                    self._material.scale,
                )
            if not bool(seen.any()):  # what was not dropped saw nothing there
                continue
            target = torch.from_numpy(pixels.target[view.places]).to(device)
            yield F.cross_entropy(self.classifier(x)[seen], target[seen])
