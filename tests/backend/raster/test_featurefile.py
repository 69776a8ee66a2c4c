import numpy as np
import pytest
import rasterio
from affine import Affine
from skysense.errors import Cancelled, StorageError
from skysense.raster.featurefile import merge_features, write_feature_chunk
from skysense.raster.grid import Grid, Window

GRID = Grid("EPSG:32632", Affine(10.0, 0, 500000.0, 0, -10.0, 5400000.0), 300, 270)


@pytest.fixture
def chunks(tmp_path):
    """Chunks of 100 pixels a side that cover all but the last one, and what they hold."""
    random = np.random.default_rng(0)
    whole = random.normal(size=(3, GRID.height, GRID.width)).astype(np.float32)
    parts = []
    for row in range(0, GRID.height, 100):
        for col in range(0, GRID.width, 100):
            window = Window(row, col, 100, 100).intersect(GRID.window)
            path = tmp_path / f"{row}_{col}.npy"
            write_feature_chunk(path, whole[:, *GRID.window.slices(window)])
            parts.append((window, path))
    whole[:, *GRID.window.slices(parts[-1][0])] = np.nan
    return parts[:-1], whole


def merge(chunks, out, on_block=lambda share: None):
    merge_features(chunks, out, GRID, ["a 1", "a 2", "b 1"], {"KEY": "value"}, on_block)


def test_every_pixel_is_where_its_chunk_says(chunks, tmp_path):
    shares = []
    merge(chunks[0], tmp_path / "e.tif", shares.append)
    with rasterio.open(tmp_path / "e.tif") as source:
        np.testing.assert_array_equal(source.read(), chunks[1])
        assert np.isnan(source.nodata) and source.dtypes == ("float32",) * 3 and source.profile["tiled"]
        assert source.transform == GRID.transform and source.crs.to_epsg() == 32632
        assert source.descriptions == ("a 1", "a 2", "b 1") and source.tags()["KEY"] == "value"
    assert shares[0] == 0 and shares == sorted(shares) and shares[-1] < 1


def test_the_order_of_the_chunks_does_not_matter_to_the_bytes(chunks, tmp_path):
    merge(chunks[0], tmp_path / "a.tif")
    merge(chunks[0][::-1], tmp_path / "b.tif")
    assert (tmp_path / "a.tif").read_bytes() == (tmp_path / "b.tif").read_bytes()


def test_stopped_it_leaves_the_old_file_alone(chunks, tmp_path):
    def stop(share):
        if share > 0:
            raise Cancelled()

    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "e.tif").write_bytes(b"the old one")
    with pytest.raises(Cancelled):
        merge(chunks[0], tmp_path / "out" / "e.tif", stop)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["e.tif"]
    assert (tmp_path / "out" / "e.tif").read_bytes() == b"the old one"


def test_what_cannot_be_written_is_said(chunks, tmp_path):
    with pytest.raises(StorageError, match=r"e\.tif"):
        merge(chunks[0], tmp_path / "nowhere" / "e.tif")
    with pytest.raises(StorageError, match=r"c\.npy"):
        write_feature_chunk(tmp_path / "nowhere" / "c.npy", np.zeros((1, 2, 2), np.float32))
