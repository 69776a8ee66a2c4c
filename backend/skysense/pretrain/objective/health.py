"""What tells of a collapse, over the rows of all processes: 0 where it has happened, about 1 where all is well.

Shapes: M rows of this process, C channels, K head outputs.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from skysense.pretrain.parallel import all_sum


@torch.no_grad()
def spread(features_MC: Tensor) -> float:
    """Standard deviation of the l2-normalised features times sqrt C: 0 if they are all alike, up to 1.

    Source: SimSiam (Chen and He 2021), section 4.1.
    """
    unit = F.normalize(features_MC, dim=-1)
    moments = all_sum(torch.cat((unit.sum(0), unit.square().sum(0), unit.new_tensor([len(unit)]))))
    channels = unit.shape[1]
    first, second = moments[:-1].split(channels)
    mean, square = first / moments[-1], second / moments[-1]
    return float((square - mean.square()).clamp_min(0).mean().mul(channels).sqrt())


@torch.no_grad()
def sharpness(targets_MK: Tensor) -> float:
    """1 - mean entropy of the teacher's targets over log K: 0 if they are uniform, 1 if each is one output."""
    entropy = torch.special.entr(targets_MK).sum()
    total = all_sum(torch.stack((entropy, entropy.new_tensor(len(targets_MK)))))
    return 1 - float(total[0] / total[1]) / math.log(targets_MK.shape[1])


@torch.no_grad()
def usage(teacher_MK: Tensor) -> float:
    """How evenly the teacher's outputs win before they are balanced: the perplexity of the winners, from 1 to what it can be.

    0 where one output always wins, 1 where all win alike.
    """
    outputs = teacher_MK.shape[1]
    wins = all_sum(torch.bincount(teacher_MK.argmax(1), minlength=outputs).to(teacher_MK.dtype))
    entropy = torch.special.entr(wins / wins.sum()).sum()
    return (float(entropy.exp()) - 1) / max(min(outputs, int(wins.sum())) - 1, 1)
