import csv
import datetime
import json
from pathlib import Path

import pytest
from skysense.scene.dates import acquisition_date, date_from_name
from skysense.scene.metadata import read_metadata, utc_day

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data"


@pytest.mark.skipif(not (SHARED / "dates.csv").exists(), reason="the shared sample data are not here")
def test_every_shared_name() -> None:
    with (SHARED / "dates.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wrong = []
    for row in rows:
        name = row["name"]
        day = acquisition_date(SHARED / name)[0] if row["kind"] == "metadata" else date_from_name(name)
        text = day.isoformat() if day else ""
        allowed = {
            row["expected_date"],
            {"NONE": "", "": row["expected_date"]}.get(row["also_ok"], row["also_ok"]),
        }
        if text not in allowed:
            wrong.append((name, text, allowed))
    assert len(rows) == 69
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("S2C_MSIL2A_20250301T105021_N0511_R051_T31UDQ_20250301T144503.SAFE", "2025-03-01"),
        ("S1C_IW_GRDH_1SDV_20250401T054101_20250401T054126_001703_002D52_9D0E.SAFE", "2025-04-01"),
        ("my_S2A_MSIL1C_20180709T105031_N0206_R051_T31TCJ_20200101T000000_B04.jp2", "2018-07-09"),
        ("s2_20190705_20200101.tif", ""),  # two days, no convention
        ("20190705T101010_20190705T101020_scene.tif", "2019-07-05"),
        ("20190705T235955_20190706T000010_scene.tif", "2019-07-05"),
        ("field 2020.06.21.tif", "2020-06-21"),
        ("2020_06_21_and_20200621.tif", "2020-06-21"),
        ("05-06-2020.tif", ""),  # day or month first: nobody can know
        ("05-05-2020.tif", "2020-05-05"),
        ("06-21-2020.tif", "2020-06-21"),
        ("flight_21Jun2020.tif", "2020-06-21"),
        ("2020-June-21.tif", "2020-06-21"),
        ("19JUL23104230-M2AS_R1C1-012345678901_01_P001.TIF", "2019-07-23"),
        ("HLS.S30.T32UPC.2020366T101559.v2.0.B04.tif", "2020-12-31"),
        ("HLS.S30.T32UPC.2021366T101559.v2.0.B04.tif", ""),  # 2021 has 365 days
        ("LC08_L2SP_193026_20210710_20210720_02_T1", "2021-07-10"),
        ("20200621143055_pass.tif", "2020-06-21"),
        ("tile_12345678.tif", ""),
        ("x_19000101.tif", ""),
        ("S2_20200230.tif", ""),
        ("s2_2019_marsh_10m.tif", ""),
        ("site2_marsh_2019.tif", ""),
        ("area5_deciduous_2019.tif", ""),
        ("S2_Mar_2019.tif", ""),  # a month, and the satellite
        ("s2_2019_mar_10m.tif", ""),  # a month, and the pixel size
        ("UAV21Jun2020.tif", "2020-06-21"),
        ("21_march_2020.tif", "2020-03-21"),
        ("2020 Sept 3.tif", "2020-09-03"),
        ("3 December 2020.tif", "2020-12-03"),
        ("S2A_OPER_MSI_L1C_TL_EPA__20161004T203204_A005095_T31TCJ_B02.jp2", ""),
        ("https://host/a/b.tif?X-Amz-Date=20240501T100000Z&X-Amz-Expires=60", ""),
        ("https://host/a/b_20230601.tif?se=2025-01-01&sp=r", "2023-06-01"),
        ("/vsicurl/https://host/b.tif?X-Amz-Credential=K/20240501/eu/s3", ""),
        ("", ""),
        ("project/S2_x_20200101.tif", "2020-01-01"),
        ("20200101\\S2_x.tif", ""),
        ("٢٠٢٠٠٦٢١.tif", ""),  # digits of another script are not read, and do no harm
    ],
)
def test_names(name: str, expected: str) -> None:
    found = date_from_name(name)
    assert (found.isoformat() if found else "") == expected


def test_folders_are_read_when_the_file_says_nothing() -> None:
    product = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
    assert acquisition_date(Path(f"{product}/a/b/red.tif")) == (
        datetime.date(2017, 6, 13),
        f"folder name {product}",
    )
    assert acquisition_date(Path("2020-06-21/red.tif"))[0] == datetime.date(2020, 6, 21)


@pytest.mark.parametrize("query", ["?X-Amz-Date=20240501T100000Z", "?se=2025-01-01", "?k=A/20240501/s3"])
def test_a_signed_address_has_no_date(query: str) -> None:
    assert acquisition_date(Path(f"https://host/scene/b.tif{query}")) == (None, "")
    assert acquisition_date(Path(f"https://host/b_20230601.tif{query}"))[0] == datetime.date(2023, 6, 1)


def test_a_creation_stamp_does_not_hide_the_products_day() -> None:
    safe = "S2A_OPER_PRD_MSIL1C_PDMC_20160306T125634_R051_V20160305T105054_20160305T105054.SAFE"
    band = "S2A_OPER_MSI_L1C_TL_EPA__20161004T203204_A005095_T31TCJ_B02.jp2"
    assert acquisition_date(Path(safe, "GRANULE", "x", "IMG_DATA", band))[0] == datetime.date(2016, 3, 5)


def test_a_folder_has_the_day_that_its_images_share(tmp_path: Path) -> None:
    loose = tmp_path / "loose"
    loose.mkdir()
    for band in ("B02", "B03"):
        (loose / f"T31UFT_20230601T105031_{band}_10m.tif").touch()
    (loose / "notes_20240101.txt").touch()
    assert acquisition_date(loose) == (datetime.date(2023, 6, 1), "names of its files")
    (loose / "T31UFT_20230606T105031_B02_10m.tif").touch()
    assert acquisition_date(loose) == (None, "")


def test_a_freely_named_folder_further_up_is_not_read() -> None:
    assert acquisition_date(Path("delivery_2020-06-21/images/red.tif")) == (None, "")


def test_a_range_is_not_replaced_by_the_folders_date() -> None:
    assert acquisition_date(Path("2020-06-21/x_2020-01-01_2020-12-31.tif")) == (None, "")


def test_metadata_comes_before_names(tmp_path: Path) -> None:
    folder = tmp_path / "S2A_MSIL2A_20200101T101031_N0213_R022_T33UUP_20200101T120000.SAFE"
    folder.mkdir()
    text = "<n1:P xmlns:n1='x'><PRODUCT_START_TIME>2020-01-02T00:00:01.0Z</PRODUCT_START_TIME></n1:P>"
    (folder / "MTD_MSIL2A.xml").write_text(text)
    (folder / "B04.tif").touch()
    expected = (datetime.date(2020, 1, 2), "metadata file MTD_MSIL2A.xml")
    assert acquisition_date(folder) == expected
    assert acquisition_date(folder / "B04.tif") == expected


def test_a_folders_metadata_do_not_overrule_another_files_name(tmp_path: Path) -> None:
    (tmp_path / "MTD_MSIL2A.xml").write_text("<PRODUCT_START_TIME>2020-01-02T00:00:01Z</PRODUCT_START_TIME>")
    other = tmp_path / "S2_x_20210707.tif"
    other.touch()
    assert acquisition_date(other) == (datetime.date(2021, 7, 7), "file name")


def test_stac_item(tmp_path: Path) -> None:
    image = tmp_path / "image.tif"
    image.touch()
    item = {
        "stac_version": "1.0.0",
        "id": "a",
        "properties": {"datetime": "2021-01-22T23:30:00-02:00", "created": "2025-01-01"},
    }
    (tmp_path / "image.json").write_text(json.dumps(item))
    assert acquisition_date(image) == (datetime.date(2021, 1, 23), "metadata file image.json")
    item["properties"] = {
        "datetime": None,
        "start_datetime": "2021-01-01T00:00:00Z",
        "end_datetime": "2021-01-31T00:00:00Z",
    }
    (tmp_path / "image.json").write_text(json.dumps(item))
    assert acquisition_date(image) == (None, "")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        ({"DATE": "2020-01-06"}, "2020-01-06"),
        ({"TIFFTAG_DATETIME": "2022:09:04 15:46:03"}, ""),  # when the file was written
        ({"system:time_start": "1592697600000"}, "2020-06-21"),
        ({"ACQUISITIONDATETIME": "2019-02-12 19:26:51"}, "2019-02-12"),
    ],
)
def test_tags(tags: dict[str, str], expected: str) -> None:
    found = acquisition_date(Path("x.tif"), tags)[0]
    assert (found.isoformat() if found else "") == expected


def test_utc_day() -> None:
    assert utc_day("2020-11-12T19:34:47.8741569+00:00") == datetime.date(2020, 11, 12)
    assert utc_day("2020-11-12T19:34:47+09:00") == datetime.date(2020, 11, 12)
    assert utc_day("2020-11-12T05:00:00+09:00") == datetime.date(2020, 11, 11)
    assert utc_day("2020-02-30") is None
    assert utc_day("yesterday") is None


def test_broken_metadata_is_no_metadata(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"\xff\xfe{")
    (tmp_path / "list.json").write_text("[1]")
    assert read_metadata(tmp_path / "x.json") is None
    assert read_metadata(tmp_path / "list.json") is None
    assert read_metadata(tmp_path / "none.xml") is None
