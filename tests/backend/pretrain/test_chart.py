import math
import xml.etree.ElementTree as ET

import pytest
from skysense.errors import StorageError
from skysense.pretrain.chart import chart, write_chart

SVG = "{http://www.w3.org/2000/svg}"


def _records(steps, probes=()):
    return [
        {
            "step": step,
            "loss": 3 * math.exp(-step / steps) + 0.1 * math.sin(step),
            "terms": {"hr/pixel": 1.0, "s2/image": 2 - step / steps},
            **({"probe": {"town & fields": 0.5}} if step in probes else {}),
        }
        for step in range(1, steps + 1)
    ]


def _texts(svg):
    return [text.text for text in ET.fromstring(svg).iter(f"{SVG}text")]


def test_a_line_per_term_with_its_last_value_in_the_legend():
    svg = chart(_records(100), "tiny & small")
    texts = _texts(svg)
    assert texts[0] == "tiny & small" and "step" in texts and "loss" in texts
    assert "hr/pixel 1" in texts and "s2/image 1" in texts
    assert len(list(ET.fromstring(svg).iter(f"{SVG}polyline"))) == 3


def test_points_lie_where_the_axes_say():
    svg = chart([{"step": 0, "loss": 0.0, "terms": {}}, {"step": 100, "loss": 5.0, "terms": {}}], "t")
    (line,) = ET.fromstring(svg).iter(f"{SVG}polyline")
    assert line.get("points") == "70.0,336.0 710.0,56.0"


def test_many_steps_become_means():
    svg = chart([{"step": s, "loss": float(s % 2), "terms": {}} for s in range(4800)], "t")
    (line,) = ET.fromstring(svg).iter(f"{SVG}polyline")
    points = [point.split(",") for point in line.get("points").split()]
    assert len(points) == 240 and len({y for _, y in points}) == 1
    assert "total 0.5" in _texts(svg)


def test_probes_have_a_picture_of_their_own():
    texts = _texts(chart(_records(20, probes=(10, 20)), "t"))
    assert "town & fields 0.5" in texts and "mIoU of the probe" in texts


@pytest.mark.parametrize("records", [[], _records(1), [{"step": 5, "loss": None, "terms": {"a": None}}]])
def test_little_to_draw_is_drawn(records):
    ET.fromstring(chart(records, "t"))


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(StorageError, match="No such file"):
        write_chart(tmp_path / "no" / "loss.svg", [], "t")
