import json

import pytest
from skysense.errors import StorageError
from skysense.pretrain.corpus import find_corpus
from skysense.pretrain.synthesise import _arguments, make_synthetic


def test_landscapes_are_made_once_and_whole(tmp_path):
    told = []
    (tmp_path / ".synthetic-3-0001.part").mkdir()  # of a run that was cut off
    (tmp_path / ".synthetic-3-0001.part" / "scene.json").write_text("{")
    first = make_synthetic(tmp_path, 1, 3, told.append)
    stamp = first[0].stat().st_mtime_ns
    both = make_synthetic(tmp_path, 2, 3, told.append)
    assert told == ["making landscape 1 of 1", "making landscape 2 of 2"]
    assert both[0] == first[0] and first[0].stat().st_mtime_ns == stamp
    assert sorted(path.name for path in tmp_path.iterdir()) == ["synthetic-3-0000", "synthetic-3-0001"]
    corpus = find_corpus([tmp_path], sources={})
    assert [entry.name for entry in corpus.entries] == ["synthetic-3-0000", "synthetic-3-0001"]
    for number, entry in enumerate(corpus.entries):
        wanted = _arguments(3, number)
        assert entry.synthetic and entry.kind == "fused" and entry.scene.labels is None
        assert [len(entry.scene.modality(m)) for m in ("s2", "s1")] == [wanted["n_s2"], wanted["n_s1"]]
        assert entry.extent.height * 10 == wanted["size_m"]
        assert json.loads(both[number].read_text())["info"]["seed"] == wanted["seed"]


def test_landscapes_differ_in_all_that_varies():
    made = [_arguments(0, number) for number in range(60)]
    assert made == [_arguments(0, number) for number in range(60)] and made[0] != _arguments(1, 0)
    assert {item["size_m"] for item in made} == {640, 800, 960}
    assert {item["hr_gsd_m"] for item in made} == {1.25, 2.5}
    for name in ("seed", "n_s2", "n_s1", "year"):
        assert len({item[name] for item in made}) > 5


def test_a_folder_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write the synthetic scene"):
        make_synthetic(tmp_path / "file" / "below", 1, 0)
