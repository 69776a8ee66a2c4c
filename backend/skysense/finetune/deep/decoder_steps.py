"""One training of the decoder: from the head alone to head and decoder, step by step.

The decoder learns what the head leaves open. On pixels that taught it a head is surer than it is anywhere else, so each pixel's
scores are of a head that has not seen the pixel's polygon (stacking: Wolpert 1992, Stacked generalization), as on the pixels of a map.

Shape legend: N labelled pixels, n of a view, F features, K classes.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from skysense.errors import InputError
from skysense.finetune.calibration import fit_temperature
from skysense.finetune.deep.decoder import PREFIX, Decoder, Entry
from skysense.finetune.deep.decoder_views import FeatureView, FeatureViewer
from skysense.finetune.deep.pixels import Pixels, weights
from skysense.finetune.deep.plan import Plan
from skysense.finetune.features import Block
from skysense.finetune.head import fit_head
from skysense.finetune.judging import repeated_folds
from skysense.pretrain.optimiser import clip, make_optimiser, set_rates
from skysense.pretrain.schedule import rates
from skysense.pretrain.state import optimiser_tensors

#: Views of a step.
VIEWS = 4
#: Probabilities below this are not told apart.
_UNLIKELY = 1e-6


@dataclass(frozen=True)
class Material:
    """What trainings of one scene share.

    Attributes:
        pixels: the labelled pixels; viewer: makes views of their tiles' features.
        x, blocks: (N, F) what the head sees at them.
        seen: (N, F') what the decoder sees at them; entries: its blocks.
        shapes, gsd: of the polygons, see `judging.repeated_folds`.
        device: where the decoder runs.
        seed: of everything that is drawn.
    """

    pixels: Pixels
    viewer: FeatureViewer
    x: NDArray[np.float32]
    blocks: tuple[Block, ...]
    seen: NDArray[np.float32]
    entries: tuple[Entry, ...]
    shapes: NDArray[np.object_]
    gsd: float
    device: torch.device
    seed: int

    def head_scores(self, places: NDArray[np.int64]) -> Tensor:
        """(N, K) logarithms of the probabilities that heads taught by some of the pixels give.

        Of these pixels themselves each is judged by a head that has not seen its polygon, as far as that leaves polygons of
        its class; of all others by a head of all these pixels.
        """
        pixels = self.pixels
        target, polygons = pixels.target[places], pixels.polygons[places]
        dealt = repeated_folds(target, polygons, self.shapes, self.gsd, 1)
        head, (given,) = fit_head(self.x[places], target, dealt, self.blocks)
        out = torch.softmax(head.scores(torch.from_numpy(self.x)) / head.temperature, 1)
        held = torch.from_numpy(given)
        out[places] = torch.where(held.isnan(), out[places], held)
        return out.clamp_min(_UNLIKELY).log()

    def decoded(self, decoder: Decoder, places: NDArray[np.int64]) -> Tensor:
        """(n, K) what the decoder adds at some of the pixels, as in a map."""
        out = torch.zeros(len(self.pixels.target), decoder.out.out_channels)
        training = decoder.training
        decoder.eval()
        with torch.no_grad():
            for view in self.viewer.still(places):
                out[view.places] = at_places(decoder, view, self.device).cpu()
        decoder.train(training)
        return out[places]


def at_places(decoder: Decoder, view: FeatureView, device: torch.device) -> Tensor:
    """(n, K) the decoder's logits at the labelled pixels of a view."""
    maps = {name: x.to(device) for name, x in view.maps.items()}
    logits: Tensor = decoder(maps, view.side)[0]
    return logits[:, view.rows, view.cols].T


def pixel_losses(scores: Tensor, target: Tensor) -> Tensor:
    """(n,) cross-entropy after the best temperature for scores (n, K): what is right but too sure is no worse."""
    return F.cross_entropy(scores / fit_temperature(scores, target), target, reduction="none")


class DecoderTraining:
    """A decoder while it learns; a `adapt.Learner`.

    Args:
        places: of the pixels to learn from.
        number: of this training, for its draws.
    """

    views = VIEWS

    def __init__(self, material: Material, places: NDArray[np.int64], plan: Plan, number: int) -> None:
        self._material, self._plan, self._number = material, plan, number
        self._weight = weights(material.pixels, places)
        self._offset = material.head_scores(places)
        torch.manual_seed(material.seed)
        decoder = Decoder(material.entries, len(material.pixels.classes))
        seen = torch.from_numpy(material.seen[places])
        decoder.mean.copy_(seen.mean(0))
        std = seen.std(0, unbiased=False)
        decoder.std.copy_(torch.where(std > 1e-6, std, torch.ones_like(std)))
        self.decoder = decoder.to(material.device)
        self._optimiser = make_optimiser([self.decoder])

    def step(self, step: int) -> tuple[float, float]:
        """Do step number `step`, from 0; the loss before it, and the learning rate.

        Raises:
            InputError: the loss or a gradient is no number; nothing was changed.
        """
        now = rates(step, self._plan.rates)
        seed = (self._material.seed, self._number, step)
        torch.manual_seed(int(np.random.default_rng(seed).integers(2**63)))  # of the dropout
        self.decoder.train()
        set_rates(self._optimiser, now)
        self._optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for loss in self._losses(seed):  # one by one: a view's activations are the memory that training takes
            (loss / VIEWS).backward()  # type: ignore[no-untyped-call]
            total += float(loss.detach()) / VIEWS
        norm = clip([self.decoder], self._plan.rates.clip)
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise InputError(
                f"the loss of step {step + 1} is not a number",
                "training in the mode decoder",
                'Train in the mode "head"',
            )
        self._optimiser.step()
        return total, now.lr

    def tensors(self) -> dict[str, Tensor]:
        """Everything that learns or remembers: the very tensors, by name, for `pretrain.state`."""
        own = {f"decoder.{name}": t for name, t in self.decoder.state_dict().items()}
        return own | optimiser_tensors(self._optimiser, {"decoder": self.decoder})

    def learned(self) -> dict[str, Tensor]:
        """For the model file."""
        return {PREFIX + name: t.detach().clone() for name, t in self.decoder.state_dict().items()}

    def held_out_loss(self, polygons: NDArray[np.int64]) -> float:
        """Cross-entropy at held-out polygons of head and decoder."""
        pixels = self._material.pixels
        places = np.flatnonzero(np.isin(pixels.polygons, polygons))
        scores = self._offset[places] + self._material.decoded(self.decoder, places)
        weight = torch.from_numpy(weights(pixels, places)[places])
        return float((weight * pixel_losses(scores, torch.from_numpy(pixels.target[places]))).sum())

    def _losses(self, seed: tuple[int, ...]) -> Iterator[Tensor]:
        """The loss of each view of a step: cross-entropy at its labelled pixels, classes and polygons with equal weight."""
        device, pixels = self._material.device, self._material.pixels
        seeds = [(*seed, number) for number in range(VIEWS)]
        for view in self._material.viewer.augmented(self._weight, seeds):
            scores = at_places(self.decoder, view, device) + self._offset[view.places].to(device)
            target = torch.from_numpy(pixels.target[view.places]).to(device)
            weight = torch.from_numpy(self._weight[view.places]).to(scores)
            loss = F.cross_entropy(scores, target, reduction="none")
            yield (weight * loss).sum() / weight.sum()
