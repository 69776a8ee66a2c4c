import csv
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from skysense.errors import StorageError
from skysense.finetune.judging import judge
from skysense.finetune.report import open_folder, write_report
from skysense.finetune.report_words import (
    against_bands,
    against_forest,
    confidence,
    confused,
    next_steps,
    verdict,
)

NAMES = {1: "wheat", 2: "barley", 3: "<hemp> & more"}
CLASSES = [{"id": k, "name": name, "color": "#123456"} for k, name in NAMES.items()]
VOID = {"meta", "br", "path", "rect", "circle"}


def made(head, forest, polygons=6, rare=1):
    """The report of `polygons` polygons of the classes 1 and 2 and `rare` of 3, ten pixels each.

    Args:
        head, forest: share of each class's pixels in each polygon that is mapped as the other one.
    """
    ids = np.repeat([1, 2, 3], [10 * polygons, 10 * polygons, 10 * rare])
    numbers = np.repeat(np.arange(2 * polygons + rare), 10)

    def probabilities(shares):
        out = np.full((len(ids), 3), 0.1, np.float32)
        wrong = np.tile(np.arange(10), 2 * polygons + rare) < 10 * np.append(shares, 0)[ids - 1]
        given = np.where(wrong, 3 - ids, ids) - 1
        out[np.arange(len(ids)), given] = 0.8
        out[ids == 3] = np.nan
        return out

    return judge(ids, numbers, [probabilities(head)], probabilities(forest))


def nothing():
    ids = np.array([1, 2])
    void = np.full((2, 2), np.nan, np.float32)
    return judge(ids, np.array([0, 1]), [void], void)


class Outline(HTMLParser):
    """Collects the text of a page, its headings and what it refers to, and that its elements are closed in order."""

    def __init__(self, text):
        super().__init__()
        self.open, self.text, self.refers, self.tags = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.refers += [value for name, value in attrs if name in ("src", "href", "onclick")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] != "style":
            self.text.append(data)


def read(folder, name):
    with (folder / name).open(encoding="utf-8-sig", newline="") as file:
        return list(csv.reader(file))


def test_a_report_is_four_files_that_agree(tmp_path):
    folder = tmp_path / "deep" / "report"
    report = made((0.3, 0), (0.5, 0.2))
    open_folder(folder)
    assert (
        write_report(folder, report, CLASSES, "Fields", {"Base model": "built-in"}) == folder / "report.html"
    )
    assert sorted(item.name for item in folder.iterdir()) == [
        "classes.csv", "confusion.csv", "report.html", "report.json",
    ]  # fmt: skip
    stored = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert stored["report"] == report and stored["facts"] == {"Base model": "built-in"}
    assert read(folder, "confusion.csv") == [
        ["true class \\ mapped as", "wheat", "barley", "a class that cannot be judged"],
        ["wheat", "42", "18", "0"],
        ["barley", "0", "60", "0"],
    ]
    header, *rows = read(folder, "classes.csv")
    assert [row[:5] for row in rows] == [
        ["1", "wheat", "6", "60", "yes"], ["2", "barley", "6", "60", "yes"], ["3", "<hemp> & more", "1", "10", "no"],
    ]  # fmt: skip
    wheat = dict(zip(header, rows[0]))
    assert float(wheat["recall"]) == pytest.approx(0.7, abs=1e-4)
    assert float(wheat["forest_recall"]) == pytest.approx(0.5, abs=1e-4)
    assert float(wheat["recall_low"]) < float(wheat["recall"]) <= float(wheat["recall_high"])
    assert rows[2][5:] == [""] * (len(header) - 5)


def test_the_page_is_whole_in_itself_and_shows_the_figures(tmp_path):
    report = made((0.3, 0), (0.5, 0.2))
    page = write_report(tmp_path, report, CLASSES, "A & B", {}).read_text(encoding="utf-8")
    outline = Outline(page)
    assert not outline.refers and "script" not in outline.tags and "url(" not in page and "http" not in page
    text = "".join(outline.text)
    assert "Training report: A & B" in text and "<hemp> & more" in text
    assert f"{100 * report['miou']:.0f} %" in text and f"{100 * report['forest']['miou']:.0f} %" in text
    assert text.count("cannot be judged") == 3  # in the verdict, the table and the steps
    # Two bars a class that is judged: F1 of the model and of the forest.
    widths = [float(width) for width in re.findall(r'<rect [^>]*width="([0-9.]+)"', page)]
    f1 = [item["f1"] for pair in zip(report["classes"], report["forest"]["classes"]) for item in pair]
    assert widths == pytest.approx([300 * value for value in f1], abs=0.06)
    assert page.count("<circle") == len(report["reliability"]["bins"]) == 1


def test_the_page_claims_no_more_than_neighbours_held_out_can_show(tmp_path):
    page = write_report(tmp_path, made((0.3, 0), (0.5, 0.2)), CLASSES, "Fields", {}).read_text(
        encoding="utf-8"
    )
    text = "".join(Outline(page).text)
    assert "were kept in one group, as far as that left groups enough" in text
    assert "a base model looks far around each pixel" in text


def test_a_report_of_nothing_says_so(tmp_path):
    page = write_report(tmp_path, nothing(), CLASSES[:2], "Fields", {}).read_text(encoding="utf-8")
    text = "".join(Outline(page).text)
    assert "Nothing can be judged yet" in text and "wheat has one polygon and cannot be judged" in text
    assert "<svg" not in page and "%" not in text
    assert read(tmp_path, "confusion.csv") == [["true class \\ mapped as"]]
    assert [row[4] for row in read(tmp_path, "classes.csv")[1:]] == ["no", "no"]


def test_a_written_report_is_replaced_and_always_the_same(tmp_path):
    for _ in range(2):
        first = write_report(tmp_path, made((0.3, 0), (0.5, 0.2)), CLASSES, "Fields", {}).read_bytes()
    assert write_report(tmp_path, made((0.3, 0), (0.5, 0.2)), CLASSES, "Fields", {}).read_bytes() == first
    assert len(list(tmp_path.iterdir())) == 4


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "report").write_text("mine")
    with pytest.raises(StorageError, match="cannot be written"):
        open_folder(tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"


def test_who_is_better_is_said_plainly():
    assert "The model is better here than a random forest" in against_forest(made((0.1, 0.1), (0.6, 0.6), 12))
    worse = against_forest(made((0.6, 0.6), (0.1, 0.1), 12))
    assert worse.startswith("A random forest on the same polygons was better on this scene, by ")
    assert "equally good" in against_forest(made((0.3, 0.3), (0.3, 0.3)))
    assert against_forest(nothing()) == ""


def in_turn(polygons):
    """The report of `polygons` of either class that are all right by one map and all wrong by the other, in turn."""
    ids, numbers = np.repeat([1, 2], 10 * polygons), np.repeat(np.arange(2 * polygons), 10)
    true = np.eye(2, dtype=np.float32)[ids - 1] * 0.8 + 0.1
    one = np.where((numbers % 2 == 0)[:, None], true, 1 - true)
    return judge(ids, numbers, [one], np.where((numbers % 2 == 1)[:, None], true, 1 - true))


def test_a_difference_that_the_polygons_do_not_show_is_called_so():
    assert "On these polygons both are equal" in (equal := against_forest(in_turn(14)))
    assert "cannot tell whether" in equal


def test_what_to_do_next_names_the_classes():
    report = made((0.3, 0.0), (0.5, 0.2))
    assert confused(report) == [(pytest.approx(0.3), 1, 2)]
    steps = next_steps(report, NAMES)
    assert steps[0].startswith("<hemp> & more has one polygon and cannot be judged: draw at least two more")
    assert steps[1].startswith("wheat is often mapped as barley (30 % of it): draw more polygons of both")
    assert next_steps(made((0.3, 0), (0, 0), rare=2), NAMES)[0].startswith("<hemp> & more has 2 polygons")
    # Three that were drawn on each other.
    assert next_steps(made((0.3, 0), (0, 0), rare=3), NAMES)[0] == (
        "<hemp> & more cannot be judged, since its polygons overlap others: draw some in other places."
    )
    # Good, and of many polygons: nothing is made up.
    assert next_steps(made((0, 0), (0, 0), 30, rare=0), NAMES) == []


def test_few_polygons_are_called_few():
    assert next_steps(in_turn(3), NAMES)[-1].endswith("Fewest polygons: wheat (3), barley (3).")


def test_the_confidence_is_called_what_it_is():
    # The shown confidence is 0.8: right in 85, 40 and 100 of 100.
    assert "can be believed" in confidence(made((0.1, 0.2), (0, 0)))
    assert (
        "off by 40 points" in (too_sure := confidence(made((0.6, 0.6), (0, 0))))
        and "more often wrong" in too_sure
    )
    assert "more often right" in confidence(made((0, 0), (0, 0)))


def test_the_verdict_gives_the_range():
    report = made((0.3, 0), (0, 0))
    low, high = report["intervals"]["oa"]
    given = (
        f"About {100 * report['oa']:.0f} % of the map's pixels will show the right class; with a chance of 90 % it is "
        f"{100 * low:.0f} to {100 * high:.0f} %."
    )
    assert verdict(report) == (
        f"{given} That leaves out the one class that cannot be judged; the map may well be worse on it."
    )
    assert "leaves out the 2 classes" in verdict(
        {**report, "classes": [*report["classes"], report["classes"][2]]}
    )
    assert verdict({**report, "classes": report["classes"][:2]}) == given


@pytest.mark.parametrize(
    ("value", "interval", "says"),
    [
        (0.07, [0.01, 0.12], "its features bring 7 points here"),
        (-0.07, [-0.12, -0.01], "its features cost 7 points here"),
        (0.01, [-0.04, 0.05], "within the luck of the polygons (-4 to +5 points)"),
    ],
)
def test_the_report_tells_what_the_base_model_brings_on_this_scene(value, interval, says):
    bands = {"miou": 0.6, "difference": {"miou": {"value": value, "interval": interval}}}
    assert says in against_bands({"bands_only": bands})
    assert "the mean IoU is 60 %" in against_bands({"bands_only": bands})
    assert against_bands({"bands_only": None}) == ""
