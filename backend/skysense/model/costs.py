"""What a preset costs, told for people: the text of `skysense info`."""

from typing import Any

_PREFIXES = ("", "k", "M", "G", "T", "P")


def with_unit(value: float, unit: str) -> str:
    """Three digits and a prefix: 131_200_000, "FLOP" -> "131 MFLOP"; whole below a thousand."""
    step = 0
    while step < len(_PREFIXES) - 1 and abs(value) >= 999.5:
        value, step = value / 1000, step + 1
    digits = 0 if step == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {_PREFIXES[step]}{unit}"


def millions(count: int) -> str:
    """45_607_548 -> "45.6 M", 1_659_013_072 -> "1,659 M"."""
    value = count / 1e6
    return f"{value:,.0f} M" if value >= 99.95 else f"{value:.1f} M"


def show_preset(cost: dict[str, Any]) -> str:
    """All costs of one preset; `cost` is `budget.summary` and the preset's name."""
    hr, fused, memory = cost["hr_tile"], cost["fused_tile"], cost["cpu_memory"]
    lines = [
        f"{cost['preset']}: {millions(cost['parameters'])} parameters, "
        f"{with_unit(cost['float32_bytes'], 'B')} as float32, {with_unit(cost['float16_bytes'], 'B')} as float16",
        f"HR alone, tile of {hr['side']:,} x {hr['side']:,} pixels ({hr['kept_side']} x {hr['kept_side']} kept):",
        f"  {with_unit(hr['flops'], 'FLOP')} a tile, {with_unit(hr['flops_per_pixel'], 'FLOP')} per HR pixel kept "
        f"({with_unit(cost['hr_flops_per_pixel'], 'FLOP')} without the tiles' overlap), "
        f"{with_unit(hr['working_bytes'], 'B')} of working memory",
        f"{fused['s2_dates']} Sentinel-2 and {fused['s1_dates']} Sentinel-1 dates, tile of {fused['side']} x "
        f"{fused['side']} pixels of 10 m ({fused['kept_side']} x {fused['kept_side']} kept):",
    ]
    for stride, tile in fused["fusion_stride"].items():
        lines.append(
            f"  fusion stride {stride}: {with_unit(tile['flops'], 'FLOP')} a tile, "
            f"{with_unit(tile['flops_per_pixel'], 'FLOP')} per 10 m pixel, "
            f"{with_unit(tile['working_bytes'], 'B')} of working memory"
        )
    lines += [
        f"Memory on a CPU: {with_unit(memory['total_bytes'], 'B')} at most "
        f"({with_unit(memory['weights_bytes'], 'B')} weights, {with_unit(memory['derived_bytes'], 'B')} derived "
        f"from them, {with_unit(memory['most_working_bytes'], 'B')} of work),",
        f"  {memory['method']}.",
    ]
    return "\n".join(lines)


def compare_presets(costs: list[dict[str, Any]]) -> str:
    """The presets side by side."""
    row = "{:<7} {:>10}  {:>8}  {:>10}  {:>12}  {:>12}  {:>12}  {:>12}"
    lines = [
        row.format("", "parameters", "float16", "CPU memory", "per HR", *["per 10 m"] * 3),
        row.format("", "", "", "at most", "pixel", *(f"px, stride {s}" for s in (1, 2, 4))),
    ]
    for cost in costs:
        strides = cost["fused_tile"]["fusion_stride"].values()
        lines.append(
            row.format(
                cost["preset"],
                millions(cost["parameters"]),
                with_unit(cost["float16_bytes"], "B"),
                with_unit(cost["cpu_memory"]["total_bytes"], "B"),
                with_unit(cost["hr_tile"]["flops_per_pixel"], "FLOP"),
                *(with_unit(tile["flops_per_pixel"], "FLOP") for tile in strides),
            )
        )
    fused = costs[0]["fused_tile"]
    lines.append(
        f"With {fused['s2_dates']} Sentinel-2 and {fused['s1_dates']} Sentinel-1 dates, overlap of the tiles included; "
        "`skysense info tiny` tells more."
    )
    return "\n".join(lines)
