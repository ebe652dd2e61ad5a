"""Safety against helpfulness: every run as a letter at its RR and mASR, drawn as SVG by the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holisafe.metrics import Figure
from holisafe.report._leaderboard import groups_of, harm
from holisafe.report._plots import pareto_front
from holisafe.report._table import JudgedRun

LEFT, TOP, SIDE = 34.0, 8.0, 296.0
"""Place and side of the square that is drawn in, in units of the SVG."""

_AROUND = ((9, -9), (9, 17), (-9, -9), (-9, 17), (0, -10), (0, 17), (15, 4), (-15, 4), (20, -16), (-20, -16), (20, 24),
           (-20, 24), (0, -24), (0, 31), (29, 4), (-29, 4))  # fmt: skip
"""Where the letter of a point can stand, from the point; the first free place is taken."""


@dataclass(frozen=True, slots=True)
class Point:
    """One run.

    Attributes:
        judged: The run.
        rr: RR, across.
        harm: mASR macro, upwards; mASR pooled where `kind` says so.
        kind: What is drawn upwards, if not mASR macro.
        is_front: Whether no other run is at least as low in both and lower in one.
        lower: Letters of the runs that are; empty on the front.
        x, y: The point, in units of the SVG.
        letter_x, letter_y: Where its letter stands: middle and baseline.
    """

    judged: JudgedRun
    rr: Figure
    harm: Figure
    kind: str
    is_front: bool
    lower: tuple[str, ...]
    x: float
    y: float
    letter_x: float
    letter_y: float


@dataclass(frozen=True, slots=True)
class Scatter:
    """The runs of one judge on the same samples.

    Attributes:
        judge: The judge's name.
        samples: Samples that each run was asked.
        points: Its runs; by RR, then mASR.
        front: The Pareto front as points of an SVG polyline.
        not_drawn: The other runs, and why they have no place.
    """

    judge: str
    samples: int
    points: tuple[Point, ...]
    front: str
    not_drawn: tuple[tuple[JudgedRun, str], ...]


def scatters(runs: Sequence[JudgedRun]) -> list[Scatter]:
    """A plot for each judge and each set of samples on which it gives at least two runs both figures."""
    found = [_scatter(judge, group) for judge, group in groups_of(runs)]
    return [each for each in found if len(each.points) > 1]


def across(rate: float) -> float:
    """Where a rate in [0, 1] lies across, in units of the SVG."""
    return round(LEFT + SIDE * rate, 1)


def upwards(rate: float) -> float:
    """Where a rate in [0, 1] lies upwards, in units of the SVG."""
    return round(TOP + SIDE * (1 - rate), 1)


def _scatter(judge: str, group: Sequence[JudgedRun]) -> Scatter:
    shown: list[tuple[JudgedRun, Figure, Figure, str]] = []
    not_drawn = []
    for judged in group:
        (risk, kind), rr = harm(judged.summaries[judge]), judged.summaries[judge].rr
        if judge in judged.withheld:
            not_drawn.append((judged, f"no figures, because {judged.withheld[judge]}"))
        elif risk is None or rr is None:
            not_drawn.append((judged, f"no {'harmless' if rr is None else 'unsafe'} samples"))
        else:
            shown.append((judged, rr, risk, kind))
    shown.sort(key=lambda each: (each[1].value, each[2].value))
    rates = [(rr.value, risk.value) for _, rr, risk, _ in shown]
    front = pareto_front(rates)
    middles = [(across(x), upwards(y)) for x, y in rates]
    letters = _place_letters(middles)
    points = tuple(
        Point(judged, rr, risk, kind, at in front, _lower(at, shown), *middles[at], *letters[at])
        for at, (judged, rr, risk, kind) in enumerate(shown)
    )
    return Scatter(judge, len(group[0].run.samples), points, _steps([rates[at] for at in front]), tuple(not_drawn))


def _lower(at: int, shown: Sequence[tuple[JudgedRun, Figure, Figure, str]]) -> tuple[str, ...]:
    x, y = shown[at][1].value, shown[at][2].value
    return tuple(
        judged.letter
        for judged, rr, risk, _ in shown
        if rr.value <= x and risk.value <= y and (rr.value < x or risk.value < y)
    )


def _steps(front: Sequence[tuple[float, float]]) -> str:
    """The border of what the front is better than, from the upper edge to the right one."""
    corners: list[tuple[float, float]] = []
    above = 1.0
    for x, y in front:
        corners += [(x, above), (x, y)]
        above = y
    if front:
        corners.append((1.0, above))
    return " ".join(f"{across(x)},{upwards(y)}" for x, y in corners)


def _place_letters(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A place beside each point where the letter covers no point and no other letter; the freest where none is free."""
    taken: list[tuple[float, float]] = [(x, y + 4) for x, y in points]
    found = []
    for x, y in points:
        places = [(round(x + dx, 1), round(y + dy, 1)) for dx, dy in _AROUND]
        inside = [p for p in places if LEFT + 6 < p[0] < LEFT + SIDE - 6 and TOP + 12 < p[1] < TOP + SIDE - 3]
        room = {place: min(_distance(place, other) for other in taken) for place in inside}
        best = next((place for place in inside if room[place] >= 1), max(inside, key=lambda place: room[place]))
        taken.append(best)
        found.append(best)
    return found


def _distance(one: tuple[float, float], other: tuple[float, float]) -> float:
    """How far two letters are apart, in their own sizes: below 1 they touch."""
    return max(abs(one[0] - other[0]) / 11, abs(one[1] - other[1]) / 12)
