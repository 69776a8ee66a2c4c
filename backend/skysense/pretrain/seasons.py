"""Initial values of a fresh model: tokens say what a pixel looks like, and each head of the fusion looks at a season.

The specification's own initial values (1.9) say nothing of time, since date encodings begin at zero, and mix the pixels of a
patch in 16 unlike ways, so that a short pretraining spends itself on finding out what is known beforehand. These values are
ours, for what the paper leaves open, and everything is trained from there:

* Patch embedding: orthonormal, so that no pixel's spectrum is lost. UPHead: reads it back, half way between the pixel and its
  patch, along the same directions at each of a patch's 16 places.
* Date encoding: the year as a circle. UPHead's bias tells Sentinel-2 from Sentinel-1.
* Last fusion layer: each head attends to tokens near one time of the year and takes their spectra: a composite per season
  and sensor, with as many seasons as heads, band by band, with a few differences of bands. Its FFN adds what its norm makes of
  them, so that a place's features also say how its year differs from that place's own mean.
* The other layers of the encoders and the fusion begin near the identity: what a layer adds is the smaller the more they are.

Shapes: D fusion dim, I token dim before the projection, C bands of a Sentinel, E dim of an encoder, H heads.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn

from skysense.errors import InputError
from skysense.model.dates import DAYS
from skysense.model.layers import EncoderLayer, SelfAttention
from skysense.model.skysense import SkySense
from skysense.model.tokens import PATCH
from skysense.scene.sensors import SENSORS

#: Norm of the date's and of the sensor's part of a token of `_WIDTH` channels (wider ones in proportion to the root, as of what
#: the layers add); well above the spectrum's, whose brightness a layer norm then keeps.
_DATE = _SENSOR = 10.0
_WIDTH = 96
#: Norm squared of a normalised spectrum, about.
_SPECTRUM = 6.0
#: Differences of bands that composites have beside the bands: vegetation, moisture, red edge, and radar's volume scattering.
_CONTRASTS = (("B8", "B4"), ("B11", "B8"), ("B7", "B5"), ("VH", "VV"))
#: How sharply heads look at their season: the concentration of a von Mises curve, which is at half its height 20 days off.
_SEASON = 12.0
#: Share of a pixel's own value in what UPHead gives it; the rest is its patch's mean, which has less noise.
_OWN = 0.6


@torch.no_grad()
def begin_with_seasons(model: SkySense, seed: int) -> None:
    """Give a model with the specification's initial values the ones described above, in place.

    Args:
        model: on the CPU.
        seed: of the random directions.

    Raises:
        InputError: its fusion has too few channels to tell all of that apart.
    """
    random = torch.Generator().manual_seed(seed)
    linear = model.fusion.porj_linear
    dim, tokens = linear.weight.shape
    bands = {modality: len(SENSORS[modality].bands) for modality in ("s2", "s1")}
    if dim < 5 + sum(bands.values()):
        raise InputError(f"a fusion of {dim} channels is too narrow", "model", "Use a larger preset")
    # Directions of a token (D), orthogonal to a constant, which layer norms take away.
    constant = torch.ones(dim, 1)
    directions = torch.linalg.qr(torch.cat((constant, torch.randn(dim, dim - 1, generator=random)), 1)).Q
    _, year_D2, sensor_D1, s2_DC, s1_DC, asking_D1, _ = directions.split(
        (1, 2, 1, bands["s2"], bands["s1"], 1, dim - 5 - sum(bands.values())), 1
    )
    lift_DI = _orthonormal(tokens, dim, random).T
    linear.weight.copy_(lift_DI)
    strength = math.sqrt(dim / _WIDTH)
    phase = torch.arange(DAYS) / DAYS * 2 * math.pi
    model.ctpe[0] = strength * _DATE * torch.stack((phase.cos(), phase.sin()), 1) @ year_D2.T @ lift_DI
    for vit, head, spectrum_DC, sign in (
        (model.backbone_s2, model.head_s2, s2_DC, 1.0),
        (model.backbone_s1, model.head_s1, s1_DC, -1.0),
    ):
        embedding = cast(nn.Conv2d, cast(nn.ModuleDict, vit.patch_embed)["projection"])
        up_IC = strength * lift_DI.T @ spectrum_DC
        head.conv.weight.copy_(_read_back(embedding, up_IC, random))
        sensor_I = sign * strength * _SENSOR * (lift_DI.T @ sensor_D1)[:, 0]
        cast(Tensor, head.conv.bias).copy_(sensor_I[:, None].expand(-1, PATCH**2).reshape(-1))
    *earlier, layer = cast(list[EncoderLayer], list(model.fusion.layers))
    for stack in (earlier, model.backbone_s2.layers, model.backbone_s1.layers):
        _quieten(cast(list[EncoderLayer], list(stack)))
    asking_D = math.sqrt(dim) * asking_D1[:, 0]  # a layer norm leaves it as it is
    cast(Tensor, model.fusion.cls_token)[0, 0] = asking_D
    attention = cast(SelfAttention, layer.attn["attn"])
    _look_at_seasons(attention, asking_D, year_D2, torch.cat((s2_DC, s1_DC), 1))
    # The composites take the place of what asked for them, which says nothing of the place.
    attention.out_proj.weight.copy_(torch.eye(dim))
    attention.out_proj.bias.copy_(-asking_D)
    _add_normed(layer)


def _quieten(layers: list[EncoderLayer]) -> None:
    """Make what layers add the smaller the more they are: all of them add about what one would."""
    for layer in layers:
        cast(SelfAttention, layer.attn["attn"]).out_proj.weight.div_(len(layers))
        cast(nn.Linear, layer.ffn.layers[1]).weight.div_(len(layers))


def _read_back(embedding: nn.Conv2d, up_IC: Tensor, random: torch.Generator) -> Tensor:
    """Make a patch embedding orthonormal; UPHead's weight (I * 16, E, 1, 1) that gives `up_IC` @ spectrum at each place."""
    dim, bands = embedding.weight.shape[:2]
    places = PATCH**2
    embed_EK = _orthonormal(dim, bands * places, random)  # K = bands x places, as a convolution has them
    embedding.weight.copy_(embed_EK.view_as(embedding.weight))
    # What place p shows of the patch: (p, place) -> weight.
    seen = _OWN * torch.eye(places) + (1 - _OWN) / places
    per_place = torch.einsum("ic,pq,ecq->ipe", up_IC, seen, embed_EK.view(dim, bands, places))
    return per_place.reshape(-1, dim, 1, 1)


def _look_at_seasons(attention: SelfAttention, asking_D: Tensor, year_D2: Tensor, spectra_DC: Tensor) -> None:
    """Each head's query is a time of the year, its keys are where tokens lie in the year, its values their spectra."""
    dim, heads = len(asking_D), attention.heads
    each = dim // heads
    if each < 2:
        raise InputError(f"heads of {each} channel are too narrow", "model", "Use a larger preset")
    # A layer norm divides by the standard deviation of a token, whose strength so cancels out.
    scale = math.sqrt((_DATE**2 + _SENSOR**2 + _SPECTRUM) / dim)
    query, key = torch.zeros(dim, dim), torch.zeros(dim, dim)
    for head in range(heads):
        middle = 2 * math.pi * (head + 0.5) / heads
        season = torch.tensor([math.cos(middle), math.sin(middle)])
        rows = slice(head * each, head * each + 2)
        query[rows] = _SEASON * math.sqrt(each) * season[:, None] * asking_D / dim
        key[rows] = scale * year_D2.T / _DATE
    shown_NC = _bands_and_contrasts()
    # Wide heads say it more than once, so that no channel is without meaning.
    value = scale * shown_NC[torch.arange(dim) % len(shown_NC)] @ spectra_DC.T
    attention.in_proj_weight.copy_(torch.cat((query, key, value)))


def _bands_and_contrasts() -> Tensor:
    """(bands + contrasts, bands of both sensors): what composites consist of, each of norm 1."""
    names = [band for modality in ("s2", "s1") for band in SENSORS[modality].bands]
    contrasts = torch.zeros(len(_CONTRASTS), len(names))
    for row, (plus, minus) in zip(contrasts, _CONTRASTS, strict=True):
        row[names.index(plus)], row[names.index(minus)] = math.sqrt(0.5), -math.sqrt(0.5)
    return torch.cat((torch.eye(len(names)), contrasts))


def _add_normed(layer: EncoderLayer) -> None:
    """Let the FFN add its norm's output: x + ln2(x), for GELU(y) - GELU(-y) is y."""
    first, second = (
        cast(nn.Linear, cast(nn.Sequential, layer.ffn.layers[0])[0]),
        cast(nn.Linear, layer.ffn.layers[1]),
    )
    same = torch.eye(second.out_features)
    pair = slice(0, 2 * second.out_features)
    first.weight[pair], second.weight[:, pair] = torch.cat((same, -same)), torch.cat((same, -same), 1)
    first.bias.zero_()
    second.bias.zero_()


def _orthonormal(rows: int, columns: int, random: torch.Generator) -> Tensor:
    """A random matrix whose columns, or, where it is wide, rows are orthonormal."""
    tall = torch.linalg.qr(torch.randn(max(rows, columns), min(rows, columns), generator=random)).Q
    return tall if rows >= columns else tall.T
