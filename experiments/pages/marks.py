"""Marks and frames: how a kind of arm is drawn, the frame all pictures share, and what is drawn inside it.

matplotlib draws, `svg.tidy` makes the drawing small and lets it follow the page's colors. Every kind has its own shape
and dash beside its hue.
"""

import dataclasses
import io
import itertools
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from experiments.pages import numbers, svg
from experiments.pages.report import ArmData, StudyPlot

SIZE = (5.0, 3.5)  # inches at 72 points: 360 x 252, drawn one to one on a phone
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "h")
DASHES = ("solid", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
SHAPES = (  # the markers again, in a legend's 24 x 12 box
  "M12 2.5a3.5 3.5 0 1 0 .01 0z",
  "M9 3h6v6h-6z",
  "M12 2l4 7h-8z",
  "M12 1.5l4.5 4.5l-4.5 4.5l-4.5-4.5z",
  "M12 10l4-7h-8z",
  "M10.7 2h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
  "M8.5 4.2l1.7-1.7l1.8 1.8l1.8-1.8l1.7 1.7l-1.8 1.8l1.8 1.8l-1.7 1.7l-1.8-1.8l-1.8 1.8l-1.7-1.7l1.8-1.8z",
  "M12 2l3.5 2v4l-3.5 2l-3.5-2v-4z",
)

RULES: dict[Any, Any] = {  # matplotlib's, for every picture
  "svg.hashsalt": "attention assay",  # ids from content: the same study gives the same bytes
  "svg.fonttype": "none",
  "text.parse_math": False,  # an arm's name may hold a dollar
  "path.simplify": False,
  "font.size": 12,
  "axes.edgecolor": svg.MUTED,
  "axes.labelcolor": svg.MUTED,
  "axes.linewidth": 0.8,
  "axes.grid": True,
  "axes.grid.axis": "y",
  "axes.axisbelow": True,
  "axes.formatter.useoffset": False,
  "grid.color": svg.GRID,
  "xtick.color": svg.MUTED,
  "ytick.color": svg.MUTED,
  "xtick.major.size": 0,
  "ytick.major.size": 0,
}


@dataclasses.dataclass(frozen=True)
class Style:
  """How one arm or variant is drawn, everywhere on the page."""

  color: str
  marker: int = 0
  dash: int = 0

  @property
  def swatch(self) -> str:
    """A legend's sample: a piece of line with its mark."""
    dash = ("", "5 2", "1.5 1.7", "6 2 1.5 2")[self.dash]
    color = svg.variable(self.color)
    stroke = f'<path d="M1 6h22" style="fill:none;stroke:{color};stroke-width:1.8;stroke-dasharray:{dash or "none"}"/>'
    mark = f'<path d="{SHAPES[self.marker]}" style="fill:{color}"/>'
    return f'<svg class="swatch" viewBox="0 0 24 12" aria-hidden="true">{stroke}{mark}</svg>'


def groups(arms: Sequence[ArmData]) -> dict[str, list[ArmData]]:
  """The arms of each variant, in their order."""
  found: dict[str, list[ArmData]] = {}
  for arm in arms:
    found.setdefault(arm.group, []).append(arm)
  return found


def kinds(count: int) -> list[Style]:
  """Styles of things that differ in kind; from the ninth on a color returns with another dash."""
  return [Style(svg.SERIES[i % 8], i % 8, (i + i // 8) % 4) for i in range(count)]


def _amounts(count: int) -> list[Style]:
  """Colors spread over the ordered scale, so that more of x looks darker (on a dark page: brighter)."""
  last = max(count - 1, 1)
  return [Style(svg.ORDERED[round(7 * i / last)], i % 8, i % 2) for i in range(count)]


def facets(arms: Sequence[ArmData]) -> list[tuple[str, list[ArmData], list[Style]]]:
  """One picture of curves per variant that has several arms, in the order of x; else one for all arms."""
  variants = groups(arms)
  if all(len(members) == 1 for members in variants.values()):
    return [("", list(arms), kinds(len(arms)))]
  found = []
  for group, members in variants.items():
    ordered = all(arm.x is not None for arm in members) and len(members) > 2
    shown = sorted(members, key=lambda arm: numbers.value(arm.x)) if ordered else members
    found.append((group, shown, _amounts(len(shown)) if ordered else kinds(len(shown))))
  return found


def finite(values: Sequence) -> list[float]:
  """The finite ones among stored numbers, as floats."""
  return [x for x in map(numbers.value, values) if math.isfinite(x)]


def forest(test: Mapping) -> str:
  """A finger-wide picture of one test: zero, the minimum effect, the interval and its middle; "" without figures."""
  middle, delta = numbers.value(test.get("effect")), numbers.value(test.get("minimum_effect"))
  ends = finite(test.get("ci") or ())
  if len(ends) != 2 or not math.isfinite(middle) or test.get("rule") == "EXACT":
    return ""
  deltas = [] if not math.isfinite(delta) else [-delta, delta] if test.get("rule") == "TOST" else [delta]
  low, high = min(0.0, *ends, *deltas), max(0.0, *ends, *deltas)

  def at(x: float) -> str:
    return f"{6 + 128 * (x - low) / ((high - low) or 1.0):.1f}"

  lines = [f'<path class="zero" d="M{at(0.0)} 2v14"/>']
  lines += [f'<path class="delta" d="M{at(x)} 2v14"/>' for x in deltas]
  lines += [f'<path class="ci" d="M{at(ends[0])} 9H{at(ends[1])}"/>', f'<circle cx="{at(middle)}" cy="9" r="3.4"/>']
  return f'<svg class="forest" viewBox="0 0 140 18" aria-hidden="true">{"".join(lines)}</svg>'


def picture(paint: Callable, prefix: str, label: str, height: float = SIZE[1], y_label: str = "") -> str:
  """The frame all pictures share; `paint(ax)` fills it. The SVG element as text, read out as `label`.

  `y_label` stands level above the vertical axis: it can be read on a phone and takes no width.
  """
  import matplotlib
  from matplotlib.backends.backend_svg import FigureCanvasSVG
  from matplotlib.figure import Figure

  with matplotlib.rc_context(RULES), warnings.catch_warnings():
    warnings.simplefilter(
      "ignore", UserWarning
    )  # a glyph missing in matplotlib's font: the reader's browser has its own
    figure = Figure(figsize=(SIZE[0], height))
    FigureCanvasSVG(figure)
    ax = figure.add_subplot()
    framed(ax, paint)
    if y_label:
      above = {"xycoords": ("figure points", "axes fraction"), "textcoords": "offset points"}
      name = ax.annotate(cut(y_label, 54), (4, 1), (0, 9), ha="left", va="bottom", color=svg.MUTED, **above)
      name.set_clip_on(False)
    _margins(figure, ax, height, 28 if y_label else 10)
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None})
  return svg.tidy(text.getvalue(), prefix, numbers.plain(label))


def framed(ax, paint: Callable) -> None:
  """What `paint(ax)` draws, in axes that look like those of every picture; within RULES."""
  ax.spines[["top", "right", "left"]].set_visible(False)
  ax.margins(x=0.05, y=0.08)
  paint(ax)
  for artist in itertools.chain(ax.lines, ax.collections, ax.patches, ax.texts):
    artist.set_clip_on(False)


def _margins(figure, ax, height: float, above: float) -> None:
  """Room for the longest label on the left; measured once, where matplotlib's own layout draws everything twice."""
  from matplotlib.font_manager import FontProperties
  from matplotlib.textpath import text_to_path

  font = FontProperties(size=12)
  low, high = sorted(ax.get_ylim())
  ticks = zip(ax.get_yticks(), ax.get_yticklabels(), strict=True)
  labels = [label.get_text() for tick, label in ticks if low <= tick <= high]
  widths = [text_to_path.get_text_width_height_descent(text, font, ismath=False)[0] for text in labels]
  left, bottom = 10 + max(widths, default=0.0), 40
  width, tall = 72 * SIZE[0], 72 * height
  figure.subplots_adjust(left=left / width, right=1 - 8 / width, top=1 - above / tall, bottom=bottom / tall)


def seeds(ax, x: Sequence[float], y: Sequence[float], style: Style) -> None:
  """Every seed a dot. One path of zero-length strokes with round caps: a tenth of the bytes of separate marks."""
  from matplotlib.patches import PathPatch
  from matplotlib.path import Path

  if len(x):
    vertices = [point for pair in zip(x, y, strict=True) for point in (pair, pair)]
    path = Path(vertices, [Path.MOVETO, Path.LINETO] * len(x))
    ax.add_patch(PathPatch(path, fill=False, ec=style.color, lw=4.4, alpha=0.38, capstyle="round"))
    ax.update_datalim(vertices)


def line(ax, points: Sequence[tuple[float, float]], style: Style) -> None:
  """A line through marked points; one point is a mark."""
  if points:
    marked = {"marker": MARKERS[style.marker], "ms": 6, "mec": svg.PAPER, "mew": 0.8}
    ax.plot(*zip(*points, strict=True), color=style.color, lw=1.8, ls=DASHES[style.dash], **marked)


def lost(ax, at: float, count: int, style: Style, vertical: bool = False, row: int = 0) -> None:
  """How many seeds of an arm gave no number, written on the frame where the arm stands."""
  if count:
    frame = ax.get_yaxis_transform() if vertical else ax.get_xaxis_transform()
    where = (0.995, at) if vertical else (at, 0.01 + 0.06 * row)
    side = {"ha": "right", "va": "center"} if vertical else {"ha": "center", "va": "bottom"}
    ax.text(*where, f"×{count}", transform=frame, color=style.color, fontsize=11, **side)


def references(ax, study: StudyPlot, vertical: bool = False) -> None:
  """Chance and perfect as dotted lines."""
  for level in (study.floor, study.ceiling):
    if level is not None and math.isfinite(level):
      (ax.axvline if vertical else ax.axhline)(level, color=svg.MUTED, lw=0.9, ls=(0, (2, 3)))


def jitter(count: int) -> list[float]:
  """Places in [-1, 1], the same at every run, that keep neighboring seeds apart."""
  return [2 * ((0.5 + i * 0.6180339887) % 1) - 1 for i in range(count)]


def brief(name: str) -> str:
  """An arm's name without the paths in it: attention=./mine.py:Mine is attention=Mine."""
  return re.sub(r"[^\s=]*\.py:(?=\w)", "", name)


def cut(text: str, length: int) -> str:
  """At most `length` printable characters; the page gives the whole name beside the picture."""
  text = numbers.plain(text)
  return text if len(text) <= length else text[: length - 1] + "…"
