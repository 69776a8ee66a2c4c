"""The folder of a run's finished chunks after an interruption."""

import pytest
from skysense.inference.journal import open_journal


def begun(output, content, resume=True):
    """The folder, and whether what was left in it is still there."""
    parts = open_journal(output, content, resume)
    kept = (parts / "chunk").exists()
    (parts / "chunk").write_text("done")
    return parts, kept


def test_chunks_of_the_same_input_are_kept_and_of_another_one_go(tmp_path):
    output = tmp_path / "map.tif"
    assert begun(output, {"seed": 0})[1] is False
    assert begun(output, {"seed": 0})[1] is True
    assert begun(output, {"seed": 0}, resume=False)[1] is False
    assert begun(output, {"seed": 1})[1] is False


@pytest.mark.parametrize("left", [b"", b"{", b"[]", b"null", b"\xff\xfe"])
def test_a_manifest_that_a_power_cut_left_unreadable_is_another_runs(tmp_path, left):
    output = tmp_path / "map.tif"
    parts, _ = begun(output, {"seed": 0})
    (parts / "manifest.json").write_bytes(left)
    assert begun(output, {"seed": 0})[1] is False
    assert begun(output, {"seed": 0})[1] is True
