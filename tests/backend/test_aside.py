"""A file is whole or what it was before."""

import pytest
from skysense.aside import open_aside, write_aside
from skysense.errors import StorageError


@pytest.mark.parametrize("lasting", [False, True])
def test_the_old_file_is_there_until_the_new_one_is_whole(tmp_path, lasting):
    path = tmp_path / "a.bin"
    write_aside(path, b"old", lasting=lasting)
    with open_aside(path, lasting=lasting) as out:
        out.write(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new" and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("raised", "told"), [(ValueError("no"), ValueError), (OSError(28, "No space left"), StorageError), (KeyboardInterrupt(), KeyboardInterrupt)]
)  # fmt: skip
def test_nothing_is_left_of_what_stops_half_way(tmp_path, raised, told):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with (
        pytest.raises(told, match="No space left" if told is StorageError else None),
        open_aside(path) as out,
    ):
        out.write(b"new")
        raise raised
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]


def test_a_place_that_cannot_be_written_is_told(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    for path in (tmp_path / "none" / "a", tmp_path / "file" / "a"):
        with pytest.raises(StorageError, match="cannot be written"):
            write_aside(path, b"x")
    (tmp_path / "taken").mkdir()
    with pytest.raises(StorageError, match="cannot be written"):
        write_aside(tmp_path / "taken", b"x", mark=".1")
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "taken"]
