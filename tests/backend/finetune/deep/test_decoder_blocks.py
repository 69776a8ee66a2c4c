"""A decoder beside a head: what of the collected features comes with it, and when it is taken."""

from types import SimpleNamespace

import numpy as np
import pytest
import shapely
import torch
from skysense.finetune.deep import decoder_fit
from skysense.finetune.deep.adapt import Adapted
from skysense.finetune.deep.pixels import Pixels
from skysense.finetune.features import Block, plain_values
from skysense.finetune.fitted import Fitted
from skysense.finetune.head import fit_head
from skysense.finetune.spares import fit_spares
from skysense.jobs.control import JobControl

BLOCKS = (Block("fused", 3), Block("hr.1", 4), Block("hr.bands", 3), Block("s2.series", 6))
SEEN = (BLOCKS[0], BLOCKS[2], BLOCKS[3])


def judged(monkeypatch, helped, corners):
    """What comes of a decoder that knows the classes of the `helped` ones of twelve polygons, beside a head that knows nothing."""
    random = np.random.default_rng(0)
    polygons = np.repeat(np.arange(12), 5)
    target = polygons % 2
    x = random.normal(size=(60, 16)).astype(np.float32) + target[:, None]
    own = np.concatenate([x[:, :3], x[:, 7:]], axis=1)
    around = random.normal(size=(20, 16)).astype(np.float32)
    head, held_out = fit_head(own, target + 1, [[]], SEEN)
    alone = Fitted(None, head, x, target + 1, polygons, BLOCKS, [[]], held_out, None, around)
    nothing = np.zeros(60, np.int64)
    told = torch.from_numpy(np.eye(2, dtype=np.float32)[target]) * 5
    told[~np.isin(polygons, helped)] = 0
    material = SimpleNamespace(
        pixels=Pixels((), nothing, nothing, nothing, target, polygons, np.array([1, 2])),
        x=own,
        entries=(),
        shapes=np.array([shapely.box(10 * x, 10 * y, 10 * x + 20, 10 * y + 20) for x, y in corners]),
        gsd=10.0,
        device=torch.device("cpu"),
        head_scores=lambda places: torch.zeros(60, 2),
        decoded=lambda decoder, places: told[places],
    )
    monkeypatch.setattr(decoder_fit, "decoder_of", lambda *_: torch.nn.Identity())
    found = Adapted({}, ((np.arange(6), {}), (np.arange(6, 12), {})), 3)
    return decoder_fit._judged(found, material, alone), around


def test_what_is_judged_with_a_decoder_has_the_columns_of_its_head(monkeypatch):
    fitted, around = judged(monkeypatch, np.arange(12), [(20 * n, 0) for n in range(12)])
    assert fitted is not None and fitted.blocks == SEEN and fitted.x.shape == (60, 12)
    assert np.array_equal(fitted.around, np.concatenate([around[:, :3], around[:, 7:]], axis=1))
    # What comes after the training takes its columns by block.
    assert fitted.x[:, plain_values(fitted.blocks)].shape == (60, 3 + 2)
    spares = fit_spares(
        fitted.x,
        fitted.ids,
        fitted.polygons,
        fitted.blocks,
        fitted.repeats[0],
        JobControl(lambda event: None),
        fitted.around,
    )
    assert set(spares) == {"hr", "s2"}


@pytest.mark.parametrize(("apart", "taken"), [(20, True), (3, False)])
def test_four_neighbours_are_one_place_that_it_helps_in(monkeypatch, apart, taken):
    """Four polygons of twelve gain: as places that is clear, as one place of three it may be chance."""
    corners = [(200 * (n // 4) + apart * (n % 4), 0) for n in range(12)]
    fitted, _ = judged(monkeypatch, np.arange(4), corners)
    assert (fitted is not None) == taken
