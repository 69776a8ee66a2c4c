"""Spare heads: what they are fitted to, how they are judged, and which one maps a scene."""

import numpy as np
import pytest
import shapely
import torch
from skysense.errors import Cancelled, InputError
from skysense.finetune.features import Block
from skysense.finetune.head import Head, fit_head
from skysense.finetune.judging import overall, repeated_folds
from skysense.finetune.report_words import lacking
from skysense.finetune.spares import fit_spares, for_scene, spare_tensors
from skysense.jobs.control import JobControl
from skysense.model.modelfile import ModelFile, load_model, save_model
from skysense.scene.acquisition import Acquisition, Scene
from skysense.scene.sensors import SENSORS

BLOCKS = (
    Block("fused", 6),
    Block("hr.1", 4),
    Block("hr.bands", 9),
    Block("s1.series", 6),
    Block("s2.series", 12),
)
QUIET = JobControl(lambda event: None)
POLYGONS, PIXELS = 24, 10


def table(unseen=None, polygons=()):
    """Pixels of polygons of three classes in turn; Sentinel-1 knows nothing of them, the rest tells them apart.

    Args:
        unseen: the block of a sensor that saw nothing of some of the polygons.
    """
    random = np.random.default_rng(3)
    numbers = np.repeat(np.arange(POLYGONS), PIXELS)
    ids = 1 + numbers % 3
    x = random.normal(size=(len(ids), sum(block.dim for block in BLOCKS))).astype(np.float32)
    first = 0
    for block in BLOCKS:
        if block.name != "s1.series":
            x[np.arange(len(ids)), first + ids] += 8
        if block.name == unseen:
            x[np.isin(numbers, polygons), first : first + block.dim] = 0
        first += block.dim
    shapes = np.array([shapely.Point(100 * number, 0).buffer(5) for number in range(POLYGONS)], object)
    return x, ids, numbers, repeated_folds(ids, numbers, shapes, 10.0, 1)[0]


def columns(*names):
    return np.concatenate([np.full(block.dim, block.name in names) for block in BLOCKS])


def fit(*found, control=QUIET):
    x, ids, numbers, folds = found
    return fit_spares(x, ids, numbers, BLOCKS, folds, control)


@pytest.fixture(scope="module")
def spares():
    return fit(*table())


def test_there_is_one_for_each_part_of_the_sensors_on_their_own_values(spares):
    x, ids, numbers, folds = table()
    assert list(spares) == ["hr", "s2", "s1", "hr+s2", "hr+s1", "s2+s1"]
    assert spares["hr"].figures["without"] == ["s2", "s1"] and spares["s2+s1"].figures["without"] == ["hr"]
    for key, names in (("s2", ("s2.series",)), ("hr+s1", ("hr.bands", "s1.series"))):
        own = tuple(block for block in BLOCKS if block.name in names)
        head, held_out = fit_head(x[:, columns(*names)], ids, [folds], own)
        assert spares[key].head.header() == head.header() and head.blocks == own
        torch.testing.assert_close(spares[key].head.tensors(), head.tensors())
        assert spares[key].figures["miou"] == overall(ids, numbers, held_out)["miou"]
    # Trees wherever they can be asked about in time, though not beside HR.
    assert spares["s2"].head.trees and spares["s2+s1"].head.trees and not spares["hr+s2"].head.trees
    assert spares["s2"].figures["miou"] > 0.9 and spares["s1"].figures["miou"] < 0.5
    low, high = spares["s2"].figures["intervals"]["miou"]
    assert low < spares["s2"].figures["miou"] <= high


def test_one_sensor_leaves_nothing_to_spare():
    x, ids, numbers, folds = table()
    own = columns("fused", "s2.series")
    assert fit_spares(x[:, own], ids, numbers, (BLOCKS[0], BLOCKS[4]), folds, QUIET) == {}


def test_pixels_that_a_sensor_has_not_seen_teach_it_nothing(spares):
    """What is left of a sensor's polygons makes the same head as if only these had been drawn."""
    x, ids, numbers, folds = table("hr.bands", range(18, 24))
    partly = fit(x, ids, numbers, folds)
    seen = numbers < 18
    place = np.cumsum(seen) - 1
    kept = [(place[train[seen[train]]], place[test[seen[test]]]) for train, test in folds]
    kept = [fold for fold in kept if len(fold[1])]
    head, held_out = fit_head(x[np.ix_(seen, columns("hr.bands"))], ids[seen], [kept], (BLOCKS[2],))
    assert torch.equal(partly["hr"].head.weight, head.weight)
    assert partly["hr"].head.temperature == head.temperature
    assert partly["hr"].figures["miou"] == overall(ids[seen], numbers[seen], held_out)["miou"]
    assert torch.equal(partly["s2"].head.weight, spares["s2"].head.weight)


def test_a_sensor_that_has_not_seen_a_class_cannot_stand_alone():
    spares = fit(*table("hr.bands", range(1, 24, 3)))
    assert "hr" not in spares and list(spares) == ["s2", "s1", "hr+s2", "hr+s1", "s2+s1"]


def test_too_few_polygons_to_judge_are_enough_to_map():
    x, ids, numbers, _ = table()
    few = numbers < 6
    spares = fit_spares(x[few], ids[few], numbers[few], BLOCKS, [], QUIET)
    assert spares["s2"].figures == {
        "without": ["hr", "s1"],
        "oa": None,
        "macro_f1": None,
        "miou": None,
        "intervals": None,
    }
    scores = spares["s2"].head.scores(torch.from_numpy(x[np.ix_(few, columns("s2.series"))]))
    assert (scores.argmax(1).numpy() + 1 == ids[few]).mean() > 0.9


def test_of_few_polygons_the_pixels_around_that_a_sensor_has_seen_take_part():
    x, ids, numbers, _ = table()
    drawn, around = numbers < 3, x.copy()
    around[:50, columns("hr.bands")] = 0
    found = fit_spares(x[drawn], ids[drawn], numbers[drawn], BLOCKS, [], QUIET, around)
    for key, names, seen in (("hr", ("hr.bands",), slice(50, None)), ("s2", ("s2.series",), slice(None))):
        own = tuple(block for block in BLOCKS if block.name in names)
        head, _ = fit_head(
            x[np.ix_(drawn, columns(*names))],
            ids[drawn],
            [[]],
            own,
            polygons=numbers[drawn],
            around=around[seen][:, columns(*names)],
        )
        alone, _ = fit_head(x[np.ix_(drawn, columns(*names))], ids[drawn], [[]], own)
        torch.testing.assert_close(found[key].head.weight, head.weight)
        assert (head.weight - alone.weight).abs().max() > 0.1


def test_it_can_be_cancelled():
    control = JobControl(lambda event: None)
    control.cancel()
    with pytest.raises(Cancelled):
        fit(*table(), control=control)


def scene_of(*modalities, tmp_path):
    items = tuple(Acquisition(m, tmp_path / f"{m}.tif", None, {}) for m in modalities)
    return Scene("Fields", items, None, tmp_path)


@pytest.fixture(scope="module")
def model(spares, tmp_path_factory):
    """A model file of three sensors, as it is read again."""
    x, ids, numbers, folds = table()
    path = tmp_path_factory.mktemp("model") / "m.safetensors"
    head, held_out = fit_head(x, ids, [folds], BLOCKS)
    inputs = {
        "modalities": ["hr", "s2", "s1"],
        "encoded": ["s2", "s1"],
        "series": {"s2": {"bands": ["B2"], "days": [0]}, "s1": {"bands": ["VV"], "days": [0]}},
        "hr_bands": ["R", "G", "B"],
    }
    figures = {key: spare.figures for key, spare in spares.items()}
    header = {
        "target": "classes",
        "backbone": {"preset": "tiny"},
        "inputs": inputs,
        "head": head.header(),
        "adaptation": {"mode": "lora", "steps": 3},
        "spares": {key: spare.head.header() for key, spare in spares.items()},
        "report": {**overall(ids, numbers, held_out), "spares": figures},
    }
    save_model(path, header, {**head.tensors(), **spare_tensors(spares)})
    return load_model(path)


def test_a_whole_scene_gets_the_model_itself(model, tmp_path):
    notes = []
    scene = scene_of("s1", "hr", "s2", tmp_path=tmp_path)
    assert for_scene(model, scene, "m", notes.append) is model and notes == []


@pytest.mark.parametrize("left", [["s2"], ["hr", "s1"], ["s2", "s1"]])
def test_a_scene_that_lacks_a_sensor_gets_its_spare(model, spares, tmp_path, left):
    notes = []
    found = for_scene(model, scene_of(*left, tmp_path=tmp_path), "m", notes.append)
    own, again = spares["+".join(left)].head, Head.load(found.header["head"], found.tensors)
    assert again.blocks == own.blocks and again.temperature == own.temperature and again.gain == own.gain
    assert found.tensors.keys() == own.tensors().keys()
    assert all(torch.equal(found.tensors[name], tensor) for name, tensor in own.tensors().items())
    inputs = found.header["inputs"]
    assert inputs["modalities"] == left and inputs["encoded"] == []
    assert set(inputs["series"]) == set(left) - {"hr"} and bool(inputs["hr_bands"]) == ("hr" in left)
    assert "adaptation" not in found.header and found.header["backbone"] == {"preset": "tiny"}
    (note,) = notes
    missing = [SENSORS[m].title for m in SENSORS if m not in left]
    kept = [SENSORS[m].title for m in left]
    figures, whole = spares["+".join(left)].figures, model.header["report"]["miou"]
    assert note.startswith(f"The scene has no {' and '.join(missing)} imagery")
    assert (
        f"mapped from {' and '.join(kept)} alone. Expect a mean IoU of about {100 * figures['miou']:.0f} % ("
        in note
    )
    assert note.endswith(f" instead of {100 * whole:.0f} %.")


@pytest.mark.parametrize(
    ("change", "left", "fix"),
    [
        ({"spares": None}, ["s2"], "train this one again in full, which maps such scenes too"),
        ({"spares": None, "target": "values"}, ["s2"], "train one on what it has"),
        ({"spares": {}}, ["s2"], "train one on what it has"),
        ({}, [], "train one on what it has"),
    ],
)
def test_without_a_spare_it_is_refused_and_what_to_do_is_told(model, tmp_path, change, left, fix):
    header = {key: entry for key, entry in {**model.header, **change}.items() if entry is not None}
    old = ModelFile(header, model.tensors, "0")
    missing = " and ".join(SENSORS[m].title for m in SENSORS if m not in left)
    with pytest.raises(InputError, match=f"m was trained with {missing} imagery") as error:
        for_scene(old, scene_of(*left, tmp_path=tmp_path), "m", lambda text: None)
    assert error.value.fix == f"Add {missing} layers, or {fix}"


def test_the_report_tells_what_a_missing_sensor_costs(model):
    report = model.header["report"]
    told = lacking(report)
    assert [sentence.split(":")[0] for sentence in told] == [
        "Without Sentinel-2",
        "Without Sentinel-1",
        "Without High resolution",
        "Without Sentinel-2 and Sentinel-1",
        "Without High resolution and Sentinel-2",
        "Without High resolution and Sentinel-1",
    ]
    figures = report["spares"]["s2+s1"]
    low, high = figures["intervals"]["miou"]
    assert told[2] == (
        f"Without High resolution: a mean IoU of about {100 * figures['miou']:.0f} % ({100 * low:.0f} to {100 * high:.0f} %) "
        f"instead of {100 * report['miou']:.0f} %."
    )
    assert lacking({"miou": 0.5}) == []
