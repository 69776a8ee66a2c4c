"""Which dates of a long series are used: two advanced parameters, and the recipe's option that comes of them."""

from __future__ import annotations

from typing import Any

from qgis.core import (
    QgsProcessingAlgorithm,
    QgsProcessingContext,
    QgsProcessingParameterDefinition,
    QgsProcessingParameterEnum,
    QgsProcessingParameterNumber,
)

SERIES, SERIES_COUNT = "SERIES", "SERIES_COUNT"
#: The recipe's word for each choice, and ours.
RULES = {
    "all": "All dates",
    "even": "Some dates, evenly spaced over the time",
    "clearest": "The dates with the fewest clouds (of Sentinel-1 evenly spaced ones)",
}
_USUAL = 6


def add_series(algorithm: QgsProcessingAlgorithm) -> None:
    """Add the parameters from which `series_option` makes an option."""
    for parameter in (
        QgsProcessingParameterEnum(
            SERIES, "Dates of Sentinel series to use", list(RULES.values()), defaultValue=0
        ),
        QgsProcessingParameterNumber(
            SERIES_COUNT,
            "How many, if not all",
            QgsProcessingParameterNumber.Integer,
            defaultValue=_USUAL,
            minValue=1,
            maxValue=9999,
        ),
    ):
        parameter.setFlags(parameter.flags() | QgsProcessingParameterDefinition.FlagAdvanced)
        algorithm.addParameter(parameter)


def series_option(
    algorithm: QgsProcessingAlgorithm, parameters: dict[str, Any], context: QgsProcessingContext
) -> dict[str, Any]:
    """The recipe's option; empty where all dates are used."""
    rule = list(RULES)[algorithm.parameterAsEnum(parameters, SERIES, context)]
    if rule == "all":
        return {}
    return {"dates": f"{rule}:{algorithm.parameterAsInt(parameters, SERIES_COUNT, context)}"}
