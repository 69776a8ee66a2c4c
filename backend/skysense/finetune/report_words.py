"""What a report's figures mean, and what to do next, in sentences for people who draw polygons.

Sentences are plain text; the page escapes them.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from skysense.scene.sensors import SENSORS

#: Share of a class's pixels from which on its being mapped as another is worth a sentence, and how many such are told.
_CONFUSED = 0.15
_MOST_CONFUSED = 4
#: Half the width of an interval from which on it is called wide, 0..1.
_WIDE = 0.15
#: Difference of mean IoU within which two maps are called equally good, 0..1.
_EQUAL = 0.02
#: Distance of confidence and accuracy up to which the confidence is called honest, 0..1.
_HONEST = 0.1


def percent(value: float) -> str:
    return f"{100 * value:.0f} %"


def between(interval: list[float]) -> str:
    return f"{100 * interval[0]:.0f} to {100 * interval[1]:.0f} %"


def verdict(report: dict[str, Any]) -> str:
    """How good the map will be."""
    if report["oa"] is None:
        return (
            "Nothing can be judged yet: at least two classes need three polygons or more that do not overlap."
        )
    told = (
        f"About {percent(report['oa'])} of the map's pixels will show the right class; with a chance of 90 % it is "
        f"{between(report['intervals']['oa'])}."
    )
    unjudged = sum(item["intervals"] is None for item in report["classes"])
    if not unjudged:
        return told
    which, them = ("the one class", "it") if unjudged == 1 else (f"the {unjudged} classes", "them")
    return f"{told} That leaves out {which} that cannot be judged; the map may well be worse on {them}."


def against_forest(report: dict[str, Any]) -> str:
    """Whether the model or a random forest maps this scene better, by mean IoU."""
    if report["oa"] is None:
        return ""
    forest, difference = report["forest"], report["forest"]["difference"]["miou"]
    points, (low, high) = 100 * abs(difference["value"]), difference["interval"]
    both = f"(mean IoU: model {percent(report['miou'])}, forest {percent(forest['miou'])})"
    if low > 0:
        return f"The model is better here than a random forest on the same polygons, by {_points(points)} {both}."
    if high < 0:
        return (
            f"A random forest on the same polygons was better on this scene, by {_points(points)} {both}. More polygons, "
            "or another base model, may change that; as it is, a forest would serve you better here."
        )
    if max(-low, high) <= _EQUAL:
        return f"The model and a random forest on the same polygons are equally good here {both}."
    lead = f"{'the model' if difference['value'] > 0 else 'the forest'} is {_points(points)} ahead"
    return (
        f"On these polygons {lead if round(points) else 'both are equal'} {both}, but so few polygons cannot tell whether the model or "
        f"a random forest is the better one here: the difference may be anything from {round(100 * low):+d} to {_points(100 * high, '+')}."
    )


def against_bands(report: dict[str, Any]) -> str:
    """What the base model's features bring on this scene, by mean IoU."""
    bands = report["bands_only"]
    if bands is None:
        return ""
    value, (low, high) = bands["difference"]["miou"]["value"], bands["difference"]["miou"]["interval"]
    lead = f"Without the base model, from the bands and their surroundings alone, the mean IoU is {percent(bands['miou'])}:"
    if low > 0:
        return f"{lead} its features bring {_points(100 * value)} here."
    if high < 0:
        return f"{lead} its features cost {_points(-100 * value)} here. Another base model may serve this scene better."
    return f"{lead} whether its features help here is within the luck of the polygons ({round(100 * low):+d} to {_points(100 * high, '+')})."


def named(modalities: Sequence[str]) -> str:
    """Sensors as people call them."""
    return " and ".join(sensor.title for modality, sensor in SENSORS.items() if modality in modalities)


def without(report: dict[str, Any], key: str) -> str:
    """How good a map from some of the sensors is, beside one from all.

    Args:
        key: of the spare, see `spares.fit_spares`.
    """
    figures = report["spares"][key]
    if figures["miou"] is None:
        return "a worse map: how much worse could not be judged in training"
    return (
        f"a mean IoU of about {percent(figures['miou'])} ({between(figures['intervals']['miou'])}) instead of "
        f"{percent(report['miou'])}"
    )


def lacking(report: dict[str, Any]) -> list[str]:
    """For each part of the sensors that a scene may lack what to expect of its map; empty where such scenes cannot be mapped."""
    spares = report.get("spares", {})
    return [
        f"Without {named(spares[key]['without'])}: {without(report, key)}."
        for key in sorted(spares, key=lambda key: (len(spares[key]["without"]), key))
    ]


def confidence(report: dict[str, Any]) -> str:
    """Whether the confidence layer can be believed."""
    bins = report["reliability"]["bins"]
    weights = [item["n"] for item in bins]
    over = sum(n * (item["confidence"] - item["accuracy"]) for n, item in zip(weights, bins)) / sum(weights)
    if report["reliability"]["error"] <= _HONEST:
        return (
            "The confidence can be believed: where the map says 80 %, about 80 of 100 pixels are right "
            f"(it is off by {_points(100 * report['reliability']['error'])} on average)."
        )
    way = "more often wrong than it says" if over > 0 else "more often right than it says"
    return (
        f"The confidence is off by {_points(100 * report['reliability']['error'])} on average; mostly the map is {way}. Use it "
        "to find the places where the map is least sure, not as a chance of being right."
    )


def next_steps(report: dict[str, Any], names: Mapping[int, str]) -> list[str]:
    """What to draw next, the most useful first; empty where nothing stands out."""
    steps = []
    for item in report["classes"]:
        if item["intervals"] is None and item["n_polygons"] < 3:
            number = "one polygon" if item["n_polygons"] == 1 else f"{item['n_polygons']} polygons"
            more = 3 - item["n_polygons"]
            steps.append(
                f"{names[item['id']]} has {number} and cannot be judged: draw at least {'one' if more == 1 else 'two'} more, "
                "away from the others."
            )
    judged = report["oa"] is not None
    steps += [
        f"{names[item['id']]} cannot be judged, since its polygons overlap others: draw some in other places."
        for item in report["classes"]
        if judged and item["intervals"] is None and item["n_polygons"] >= 3
    ]
    steps += [
        f"{names[true]} is often mapped as {names[given]} ({percent(share)} of it): draw more polygons of both, above all where "
        "they look alike."
        for share, true, given in confused(report)[:_MOST_CONFUSED]
    ]
    confusion = report["confusion"] or {"ids": [], "shares": []}
    steps += [
        f"{names[true]} is often mapped as a class that cannot be judged ({percent(row[-1])} of it): draw polygons of both."
        for true, row in zip(confusion["ids"], confusion["shares"])
        if row[-1] >= _CONFUSED
    ]
    if report["oa"] is not None:
        low, high = report["intervals"]["miou"]
        if high - low > 2 * _WIDE:
            least = sorted((c for c in report["classes"] if c["intervals"]), key=lambda c: c["n_polygons"])[
                :3
            ]
            fewest = ", ".join(f"{names[c['id']]} ({c['n_polygons']})" for c in least)
            steps.append(
                "The figures are unsure because the polygons are few. More polygons in other places help, larger ones do not. "
                f"Fewest polygons: {fewest}."
            )
    return steps


def confused(report: dict[str, Any]) -> list[tuple[float, int, int]]:
    """Share, true class and given class of what is often confused, most of it first."""
    confusion = report["confusion"]
    if confusion is None:
        return []
    ids = confusion["ids"]
    found = [
        (share, true, given)
        for true, row in zip(ids, confusion["shares"])
        for given, share in zip(ids, row)
        if given != true and share >= _CONFUSED
    ]
    return sorted(found, reverse=True)


def _points(value: float, sign: str = "") -> str:
    """A number of percentage points in words; `sign` "+" tells those above 0 by one too."""
    number = round(value)
    return f"{number:{sign}d} point{'' if abs(number) == 1 else 's'}"
