"""A layer written batch by batch is one layer, or the old file stays."""

import numpy as np
import pyogrio
import pytest
import shapely
from skysense.errors import InputError, StorageError
from skysense.raster.vectorfile import LayerStream


def write(path, *batches, then=None):
    with LayerStream(path, "things", "Point", "EPSG:32631") as layer:
        for batch in batches:
            points = shapely.points(np.array(batch, float), 5_600_000.0)
            layer.append(
                shapely.to_wkb(points),
                {"number": np.array(batch, np.int32), "name": np.array([f"n{i}ß" for i in batch], object)},
            )
        if then:
            raise then
        return layer


def test_batches_follow_each_other_and_have_an_index(tmp_path):
    path = tmp_path / "p.gpkg"
    assert write(path, [1, 2], [3], [4, 5]).count == 5
    meta, _, geometry, values = pyogrio.raw.read(path, layer="things")
    assert meta["crs"] == "EPSG:32631" and list(meta["fields"]) == ["number", "name"]
    assert values[0].tolist() == [1, 2, 3, 4, 5] and values[1][4] == "n5ß"
    assert shapely.get_x(shapely.from_wkb(geometry)).tolist() == [1, 2, 3, 4, 5]
    _, _, _, found = pyogrio.raw.read(path, bbox=(2.5, 5_599_999, 4.5, 5_600_001))
    assert found[0].tolist() == [3, 4]
    assert [item.name for item in tmp_path.iterdir()] == ["p.gpkg"]


def test_the_old_file_is_there_until_the_end_and_stays_when_something_fails(tmp_path):
    path = tmp_path / "p.gpkg"
    write(path, [1])
    old = path.read_bytes()
    with pytest.raises(ZeroDivisionError):
        write(path, [2], [3], then=ZeroDivisionError())
    assert path.read_bytes() == old and [item.name for item in tmp_path.iterdir()] == ["p.gpkg"]
    write(path, [2])
    assert pyogrio.read_info(path)["features"] == 1 and path.read_bytes() != old


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "none" / "p.gpkg", [1])
    (tmp_path / "taken.gpkg").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write(tmp_path / "taken.gpkg", [1])
    assert [item.name for item in tmp_path.iterdir()] == ["taken.gpkg"]


def test_a_file_with_another_layer_is_kept(tmp_path):
    """Somebody's polygons, say."""
    path = tmp_path / "p.gpkg"
    with LayerStream(path, "train", "Point", "EPSG:32631") as layer:
        layer.append(shapely.to_wkb(shapely.points([1.0], 2.0)), {"class": np.array(["a"], object)})
    old = path.read_bytes()
    with pytest.raises(InputError, match=r"p.gpkg: holds the layer 'train', which would be lost"):
        write(path, [1])
    assert path.read_bytes() == old and [item.name for item in tmp_path.iterdir()] == ["p.gpkg"]
    (tmp_path / "q.gpkg").write_text("no layer at all")
    write(tmp_path / "q.gpkg", [1])
