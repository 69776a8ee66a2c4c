import pytest
from skysense.scene.bands import canonical_band, recognise, repeated, s2_code
from skysense.scene.sensors import Modality


@pytest.mark.parametrize(
    ("text", "modality", "expected"),
    [
        ("B02", "s2", "B2"),
        ("B8A", "s2", "B8A"),
        ("b08a", "s2", "B8A"),
        ("S2-L2A-B12", "s2", "B12"),
        ("T31TCJ_20200817T105031_B04_10m", "s2", "B4"),
        ("B13", "s2", None),
        ("red", "s2", "B4"),
        ("nir08", "s2", "B8A"),
        ("B2 minus B3", "s2", None),
        ("Red", "hr", "R"),
        ("near infrared", "hr", "NIR"),
        ("Red (665 nm)", "hr", "R"),
        ("N", "hr", "NIR"),
        ("B4", "hr", None),
        ("Gamma0_VV", "s1", "VV"),
        ("sigma0-vh-db", "s1", "VH"),
        ("HH", "s1", None),
        ("angle", "s1", None),
    ],
)
def test_names(text: str, modality: Modality, expected: str | None) -> None:
    assert canonical_band(text, modality) == expected


def test_the_first_of_a_repeated_name_counts() -> None:
    assert recognise(("VV", None, "VV", "VH"), "s1") == {"VV": 1, "VH": 4}


def test_repeated() -> None:
    assert repeated(("VV", "VH", "vv"))
    assert not repeated((None, None, "VV"))


def test_a_word_with_a_number_is_no_code() -> None:
    assert s2_code("Band_2") is None
    assert s2_code("AB4") is None
