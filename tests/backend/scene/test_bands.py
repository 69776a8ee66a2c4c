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
        ("Coastal Blue", "hr", None),
        ("green_i", "hr", None),
        ("Red Edge", "hr", None),
        ("Vegetation red edge", "s2", None),
        ("Coastal aerosol", "s2", "B1"),
        ("Red edge 2", "s2", "B6"),
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


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (  # SuperDove
            ("coastal_blue", "blue", "green_i", "green", "yellow", "red", "rededge", "nir"),
            {"B": 2, "G": 4, "R": 6, "NIR": 8},
        ),
        (("Coastal Blue", "Blue", "Green", "Yellow", "Red", "Red Edge"), {"B": 2, "G": 3, "R": 5}),
        (("Dark green", "Green", "Blue (475 nm)", "Red"), {"G": 2, "B": 3, "R": 4}),
    ],
)
def test_a_band_called_so_outright_comes_before_a_description(
    names: tuple[str, ...], expected: dict[str, int]
) -> None:
    assert recognise(names, "hr") == expected


def test_repeated() -> None:
    assert repeated(("VV", "VH", "vv"))
    assert not repeated((None, None, "VV"))


def test_a_word_with_a_number_is_no_code() -> None:
    assert s2_code("Band_2") is None
    assert s2_code("AB4") is None
