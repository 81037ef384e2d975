"""What a benchmark found, as a table for people and as JSON for scripts."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One quantity, measured on both sides in the same run."""

    what: str
    """What was measured, with its unit."""
    ours: float
    bare: float
    better: str
    """lower | higher: which way is good for us."""

    @property
    def difference(self) -> float:
        """Ours - bare: what we add, or take away."""
        return self.ours - self.bare

    @property
    def ratio(self) -> float | None:
        """Ours ÷ bare; None where the bare side came out as nothing, which happens to tiny runs."""
        return self.ours / self.bare if self.bare > 0 else None


@dataclass(frozen=True, slots=True)
class Result:
    """One benchmark's rows."""

    name: str
    size: int
    """What --turns said."""
    bare: str
    """What the bare side is, in a few words."""
    rows: tuple[Row, ...]

    def to_json(self) -> dict[str, Any]:
        """A JSON-able object; `ratio` is null where there is none."""
        return {
            "benchmark": self.name,
            "size": self.size,
            "bare": self.bare,
            "python": platform.python_version(),
            "cores": os.cpu_count(),
            "rows": [
                {
                    "what": row.what,
                    "threadway": round(row.ours, 4),
                    "bare": round(row.bare, 4),
                    "difference": round(row.difference, 4),
                    "ratio": None if row.ratio is None else round(row.ratio, 3),
                    "better": row.better,
                }
                for row in self.rows
            ],
        }

    def table(self) -> str:
        """A Markdown table, so that it can be pasted into a page."""
        lines = [
            f"{self.name}, size {self.size}: threadway against {self.bare}",
            "",
            "| | threadway | bare | threadway − bare | threadway ÷ bare | better |",
            "|---|--:|--:|--:|--:|---|",
        ]
        for row in self.rows:
            ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
            values = " | ".join(_short(value) for value in (row.ours, row.bare, row.difference))
            lines.append(f"| {row.what} | {values} | **{ratio}** | {row.better} |")
        return "\n".join(lines)


def _short(value: float) -> str:
    """Three significant digits: more would claim more than one run can know."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
