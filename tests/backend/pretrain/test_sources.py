import json
from pathlib import Path

import pytest
from corpus_fixtures import SHARED
from skysense.errors import InputError
from skysense.pretrain.sources import read_sources

LIST = Path(__file__).resolve().parents[3] / "resources" / "pretrain" / "sources.json"
ROW = {"name": "a", "place": "p", "origin": "o", "licence": "CC-BY-4.0", "attribution": "by o"}


def write(path, rows, version=1):
    path.write_text(json.dumps({"skysense_sources": version, "sources": rows}))
    return path


@pytest.mark.parametrize(
    "licence, allowed",
    [
        ("Copernicus", True),
        ("public domain", True),
        ("CC0-1.0", True),
        ("CC-BY-4.0", True),
        ("CDLA-Permissive-1.0", True),
        ("CC-BY-SA-4.0", False),
        ("CC-BY-NC-4.0", False),
        ("unknown", False),
    ],
)
def test_only_open_licences_are_allowed(tmp_path, licence, allowed):
    source = read_sources(write(tmp_path / "s.json", [{**ROW, "licence": licence}]))["a"]
    assert source.allowed is allowed and source.place == "p" and source.attribution == "by o"


@pytest.mark.parametrize("key", list(ROW))
def test_an_entry_that_lacks_something_is_told(tmp_path, key):
    row = {**ROW, key: " "}
    with pytest.raises(InputError, match=f"source 2 lacks {key}"):
        read_sources(write(tmp_path / "s.json", [{**ROW, "name": "b"}, row]))


def test_what_is_no_list_is_refused(tmp_path):
    with pytest.raises(InputError, match="not a list of imagery sources"):
        read_sources(write(tmp_path / "s.json", [ROW], version=2))
    with pytest.raises(InputError, match="names a twice"):
        read_sources(write(tmp_path / "s.json", [ROW, ROW]))
    with pytest.raises(InputError, match="cannot be read"):
        read_sources(tmp_path / "none.json")


def test_the_shipped_list_leaves_out_share_alike_and_knows_which_scenes_are_one_place():
    sources = read_sources(LIST)
    assert [name for name, source in sources.items() if not source.allowed] == ["laos-majortom"]
    together = {}
    for source in sources.values():
        together.setdefault(source.place, set()).add(source.name)
    assert {frozenset(names) for names in together.values() if len(names) > 1} == {
        frozenset({"flanders-2018-long", "flanders-crops-2018"}),
        frozenset({"kampala-buildings", "kampala-buildings-south"}),
        frozenset({"punjab-ssl4eo", "punjab-ssl4eo-l1c"}),
    }


@pytest.mark.skipif(not SHARED.exists(), reason="the sample data are not here")
def test_every_sample_scene_is_in_the_shipped_list():
    scenes = {
        file.parent.name for room in ("scenes", "pretrain") for file in SHARED.glob(f"{room}/*/scene.json")
    }
    assert scenes == set(read_sources(LIST))
