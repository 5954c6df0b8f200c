"""The one table of a benchmark run, as text and as a picture: each figure a ratio beside its bar."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from html import escape


@dataclass(frozen=True)
class Figure:
    """One line: `value` is a ratio (or a count), `bar` what it has to reach; `at_most` where less is better."""

    name: str
    value: float
    bar: float | None
    at_most: bool = False
    ours: str = ""
    reference: str = ""

    @property
    def holds(self) -> bool | None:
        """Whether the bar is reached; None without a bar."""
        if self.bar is None:
            return None
        return self.value <= self.bar if self.at_most else self.value >= self.bar


def as_text(figures: list[Figure]) -> str:
    """The table as lines of text, columns padded."""
    rows = [("figure", "value", "bar", "", "JobSync", "reference in the same run")]
    for one in figures:
        bar = "-" if one.bar is None else f"{'<=' if one.at_most else '>='} {one.bar:g}"
        word = {None: "", True: "holds", False: "FALLS SHORT"}[one.holds]
        rows.append((one.name, f"{one.value:.2f}", bar, word, one.ours, one.reference))
    widths = [max(len(row[place]) for row in rows) for place in range(6)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def as_records(figures: list[Figure]) -> list[dict[str, object]]:
    """The same for --json."""
    return [{**asdict(one), "holds": one.holds} for one in figures]


def as_svg(figures: list[Figure]) -> str:
    """A bar for each figure with a bar to reach, in units of that bar: the line at 1 is where it holds."""
    shown = [one for one in figures if one.bar]
    height, left, unit = 26, 330, 180
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 900 {len(shown) * height + 40}" font-family="sans-serif" font-size="13">',
        "<title>Benchmark: each figure in units of its bar</title>",
    ]
    for place, one in enumerate(shown):
        assert one.bar
        # Where less is better the bar stands above the figure: the longer, the better in every line.
        share = min((one.bar / max(one.value, 1e-9)) if one.at_most else one.value / one.bar, 3.0)
        top = place * height + 10
        colour = "#2f7d4f" if one.holds else "#b3402a"
        lines.append(f'<text x="{left - 10}" y="{top + 15}" text-anchor="end">{escape(one.name)}</text>')
        lines.append(f'<rect x="{left}" y="{top}" width="{share * unit:.0f}" height="{height - 8}" fill="{colour}"/>')
        lines.append(f'<text x="{left + share * unit + 6:.0f}" y="{top + 15}">{one.value:.2f}</text>')
    bottom = len(shown) * height + 12
    lines.append(
        f'<line x1="{left + unit}" y1="4" x2="{left + unit}" y2="{bottom}" stroke="#333" stroke-dasharray="4 3"/>'
    )
    lines.append(f'<text x="{left + unit}" y="{bottom + 16}" text-anchor="middle">the bar</text></svg>')
    return "\n".join(lines)
