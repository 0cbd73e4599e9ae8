"""The report's pictures as matplotlib figures, for notebooks: the same drawing in the light page's colors."""

import functools
import io
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from experiments.pages import figures, marks, svg
from experiments.pages.figures import Panel
from experiments.pages.report import StudyPlot
from model.errors import Refused

DPI = 96


def studies(given: Sequence[StudyPlot]) -> Any:
  """One figure, a row per study, a column per picture of it. Raises Refused where there is no number to draw."""
  import matplotlib

  rows = [(study, panels) for study in given if (panels := figures.panels(study, "p"))]
  if not rows:
    raise Refused("nothing to plot: no run here has a finite number; .frame() shows what became of them")
  columns = max(len(panels) for _, panels in rows)
  width, height = marks.SIZE
  with matplotlib.rc_context(_rules()), warnings.catch_warnings():
    warnings.simplefilter("ignore", UserWarning)  # a glyph missing in matplotlib's font
    figure = blank(width * columns, height * len(rows))
    for row, (study, panels) in enumerate(rows):
      for column, panel in enumerate(panels):
        _draw(figure.add_subplot(len(rows), columns, row * columns + column + 1), study, panel, len(rows) > 1)
    _recolor(figure)
    figure.draw_without_rendering()  # ticks are made now, under these rules
  return figure


def blank(width: float, height: float) -> Any:
  """An empty figure of so many inches that a notebook shows by itself; pyplot does not know it."""
  return _picture()(figsize=(width, height), dpi=DPI, layout="constrained")


def png(figure) -> bytes:
  """The figure as a PNG file."""
  data = io.BytesIO()
  figure.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
  return data.getvalue()


@functools.cache
def _picture() -> type:
  """A Figure of matplotlib's that any notebook can show, whether its own formatters are loaded or not."""
  from matplotlib.figure import Figure

  class Picture(Figure):
    """A figure that shows itself."""

    def _repr_png_(self) -> bytes:
      return png(self)

  return Picture


def _draw(ax, study: StudyPlot, panel: Panel, named: bool) -> None:
  from matplotlib.lines import Line2D

  marks.framed(ax, panel.paint)
  _round(ax)
  ax.set_title(marks.cut(f"{study.title}: {panel.caption}" if named else panel.caption, 48), loc="left", fontsize=12)
  shapes = [
    Line2D([], [], color=style.color, marker=marks.MARKERS[style.marker], ls=marks.DASHES[style.dash], label=label)
    for style, label in panel.keys
  ]
  if shapes:
    ax.legend(handles=shapes, frameon=False, fontsize=10)


def _round(ax) -> None:
  """Seeds as dots: `marks.seeds` strokes them with round caps, which a picture of pixels leaves out."""
  import numpy as np
  from matplotlib.patches import PathPatch

  for patch in [patch for patch in ax.patches if isinstance(patch, PathPatch)]:
    x, y = np.asarray(patch.get_path().vertices)[::2].T
    ax.plot(x, y, "o", ls="none", ms=4.4, mew=0, color=patch.get_edgecolor(), clip_on=False, zorder=1.5)
    patch.remove()


@functools.cache
def colors() -> dict[str, str]:
  """Stand-in color (experiments/pages/svg.py) -> color of the light page, as its style sheet says."""
  sheet = (Path(__file__).parent / "style.css.j2").read_text(encoding="utf-8").partition("@media")[0]
  named = {f"var(--{name})": value for name, value in re.findall(r"--(\w+): (#[0-9a-f]{6})", sheet)}
  stand_ins = (*svg.SERIES, *svg.ORDERED, svg.INK, svg.MUTED, svg.GRID, svg.PAPER)
  return {color: named[svg.variable(color)] for color in stand_ins}


def _rules() -> dict[Any, Any]:
  return {name: colors().get(value, value) if isinstance(value, str) else value for name, value in marks.RULES.items()}


def _recolor(figure) -> None:
  """Stand-ins become colors in all that was drawn."""
  from matplotlib.colors import to_hex, to_rgba_array

  for artist in figure.findobj():
    for part in ("color", "facecolor", "edgecolor", "markerfacecolor", "markeredgecolor"):
      read, write = getattr(artist, f"get_{part}", None), getattr(artist, f"set_{part}", None)
      if read is None or write is None:
        continue
      found = to_rgba_array(read())
      if len(found) and (color := colors().get(to_hex(found[0]))):
        write((color, float(found[0, 3])))
