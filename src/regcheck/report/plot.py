"""Evidence as bar charts: what was measured, what the reference predicts, and from where an effect is material."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite

from regcheck.core.finding import Evidence
from regcheck.lazy_dataclass import dataclass
from regcheck.report.view import amount


@dataclass(frozen=True)
class Bar:
    """A bar from zero to a figure; `start` and `width` are percentages of the chart's width, `role` its CSS class."""

    text: str
    role: str
    start: float
    width: float


@dataclass(frozen=True)
class Threshold:
    """A line at a figure; `at` is a percentage of the chart's width."""

    text: str
    at: float


@dataclass(frozen=True)
class Chart:
    """Figures of one unit on one linear scale that contains zero."""

    title: str
    bars: tuple[Bar, ...]
    threshold: Threshold | None = None

    @property
    def description(self) -> str:
        """The chart in words, for readers who do not see it."""
        texts = [each.text for each in self.bars] + ([self.threshold.text] if self.threshold else [])
        return f"{self.title}. {'; '.join(texts)}"


def charts(evidence: Evidence) -> list[Chart]:
    """The charts of a measurement: one where the effect is the measured figure itself, else one for each of the two.

    A figure that is not finite is not drawn.
    """
    effect, measured, expected = evidence.effect, evidence.measured, evidence.expected
    drawn = []
    size = effect.value if effect is not None else None
    if effect is not None and size is not None:
        figures = [("measured", size)]
        if size == measured and expected is not None and isfinite(expected):
            figures.append(("reference", expected))
        texts = [f"{role}: {amount(effect, figure)} {effect.unit}" for role, figure in figures]
        line = (f"material from {amount(effect, effect.material_from)}", effect.material_from)
        drawn.append(_chart(effect.name, texts, figures, line if effect.material_from > 0 else None))
    if measured is not None and expected is not None and size != measured and isfinite(measured) and isfinite(expected):
        figures = [("measured", measured), ("reference", expected)]
        drawn.append(_chart(evidence.statistic, [f"{role}: {figure:.4g}" for role, figure in figures], figures))
    return drawn


def _chart(
    title: str, texts: Sequence[str], figures: Sequence[tuple[str, float]], threshold: tuple[str, float] | None = None
) -> Chart:
    values = [0.0, *(figure for _, figure in figures), *([threshold[1]] if threshold else [])]
    low, high = min(values), max(values)
    scale = max(high, 0.0) / 100 - low / 100  # each divided first: their difference may overflow

    def at(figure: float) -> float:
        return round((figure / scale) - (low / scale), 2) if scale else 0.0

    bars = tuple(
        Bar(text, role, min(at(0), at(figure)), round(abs(at(figure) - at(0)), 2))
        for text, (role, figure) in zip(texts, figures, strict=True)
    )
    return Chart(title, bars, Threshold(threshold[0], at(threshold[1])) if threshold else None)
