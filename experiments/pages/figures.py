"""Pictures of one study: the metric of every seed, the learning curves, the learning rates tried."""

import dataclasses
import math
import statistics
from collections.abc import Callable, Sequence

from experiments.pages import marks, methods, numbers, svg
from experiments.pages.marks import Style, finite
from experiments.pages.report import ArmData, StudyPlot

LINE = (-math.inf, math.inf)
POINTS = 48  # of a learning curve; more cannot be told apart at this width


@dataclasses.dataclass(frozen=True)
class Panel:
  """One picture: the SVG text, what stands above it, its legend as (style, label), a note, and what draws it."""

  caption: str
  svg: str
  keys: tuple[tuple[Style, str], ...]
  note: str
  paint: Callable

  @property
  def legend(self) -> tuple[tuple[str, str], ...]:
    """(swatch, label) of the page's legend."""
    return tuple((style.swatch, label) for style, label in self.keys)


def panels(study: StudyPlot, prefix: str) -> list[Panel]:
  """All pictures of a study; those without a finite number are left out. `prefix` makes ids unique in the page."""
  drawn = [_metric(study, f"{prefix}a")]
  for i, (title, arms, styles) in enumerate(marks.facets(study.arms)):
    drawn.append(_curves(study, title, arms, styles, f"{prefix}b{i}"))
    drawn.append(_rates(study, title, arms, styles, f"{prefix}c{i}"))
  return [panel for panel in drawn if panel]


def interval(values: Sequence[float], within: tuple[float, float] = LINE) -> tuple[float, float]:
  """The 95 % interval of the mean over seeds (sign-flip where n allows it, else t); NaN for fewer than two values.

  `within` is the range of the metric.
  """
  return _interval(values, within)[:2]


def _interval(values: Sequence[float], within: tuple[float, float]):
  """The interval with its method."""
  from experiments.protocol import stats  # scipy: not at start

  if len(values) < 2:
    return stats.Interval(math.nan, math.nan, "none")
  found = stats.within(stats.interval(list(values), 0.025), *within)
  return found if found.method != "none" else stats.Interval(math.nan, math.nan, "none")


# ---------------------------------------------------------------------------------------------------------------------
# The pictures


def _metric(study: StudyPlot, prefix: str) -> Panel | None:
  if not any(finite(arm.values) for arm in study.arms):
    return None
  if len(study.arms) == 1 and len(study.arms[0].values) == 1 and study.arms[0].curves:
    return None  # a single number is the end of its curve, and stands in the table
  if any(arm.x is None for arm in study.arms):
    return _by_name(study, prefix)
  return _by_x(study, prefix)


def _by_x(study: StudyPlot, prefix: str) -> Panel:
  groups = marks.groups(study.arms)
  styles = marks.kinds(len(groups))
  swept = sorted({float(arm.x) for arm in study.arms if arm.x is not None})
  place = _scale(swept)
  width = 0.02 * ((place(swept[-1]) - place(swept[0])) or 1.0)

  def paint(ax) -> None:
    marks.references(ax, study)
    for i, (members, style) in enumerate(zip(groups.values(), styles, strict=True)):
      shift = (i - (len(groups) - 1) / 2) * 1.6 * width
      middles = []
      for arm in sorted(members, key=lambda arm: arm.x or 0.0):
        at, values = place(arm.x) + shift, finite(arm.values)
        marks.seeds(ax, [at + step * width for step in marks.jitter(len(values))], values, style)
        if values:
          middles.append((at, statistics.fmean(values)))
          ax.plot([at, at], interval(values, study.within), color=style.color, lw=2.2, solid_capstyle="round")
        marks.lost(ax, at, len(arm.values) - len(values), style, row=i)
      marks.line(ax, middles, style)
    shown = swept[:: math.ceil(len(swept) / 8)]
    ax.set_xticks([place(x) for x in shown], [numbers.number(x) for x in shown])
    ax.set_xlabel(marks.cut(f"{study.x_label} (log scale)" if place(2.0) == 1.0 else study.x_label, 44))

  keys = tuple((style, group) for group, style in zip(groups, styles, strict=True) if len(groups) > 1)
  drawn = marks.picture(paint, prefix, _spoken(study), y_label=study.y_label)
  return Panel(_what(study, f"by {study.x_label}"), drawn, keys, _note(study), paint)


def _by_name(study: StudyPlot, prefix: str) -> Panel:
  facets = marks.facets(study.arms)
  order = [arm for _, arms, _ in facets for arm in arms]
  styles = [style for _, _, facet in facets for style in facet]

  def paint(ax) -> None:
    marks.references(ax, study, vertical=True)
    for row, (arm, style) in enumerate(zip(order, styles, strict=True)):
      values = finite(arm.values)
      marks.seeds(ax, values, [row + 0.22 * step for step in marks.jitter(len(values))], style)
      if values:
        ax.plot(interval(values, study.within), [row, row], color=style.color, lw=2.4, solid_capstyle="round")
        marks.line(ax, [(statistics.fmean(values), row)], style)
      marks.lost(ax, row, len(arm.values) - len(values), style, vertical=True)
    ax.set_yticks(range(len(order)), [marks.cut(marks.brief(arm.name), 24) for arm in order])
    ax.set_ylim(len(order) - 0.4, -0.6)
    ax.grid(visible=True, axis="x")
    ax.grid(visible=False, axis="y")
    ax.set_xlabel(marks.cut(study.y_label, 44))

  height = min(max(marks.SIZE[1], 0.34 * len(order) + 0.8), 12.0)
  return Panel(_what(study, "by arm"), marks.picture(paint, prefix, _spoken(study), height), (), _note(study), paint)


def _curves(study: StudyPlot, title: str, arms: list[ArmData], styles: list[Style], prefix: str) -> Panel | None:
  means = [_mean_curve(arm.curves, study.curves_within) for arm in arms]
  if not any(means):
    return None

  def paint(ax) -> None:
    for mean, style in zip(means, styles, strict=True):
      if not mean:
        continue
      steps, middle, low, high = zip(*mean, strict=True)
      ax.fill_between(steps, low, high, color=style.color, alpha=0.16, lw=0)
      ax.plot(steps, middle, color=style.color, lw=1.8, ls=marks.DASHES[style.dash], solid_capstyle="round")
      ax.plot(steps[-1:], middle[-1:], color=style.color, marker=marks.MARKERS[style.marker], ms=5)
    ax.set_xlabel("training step")

  label = f"Learning curves of {len(arms)} arms; the last means are " + ", ".join(
    f"{arm.name}: {numbers.number(mean[-1][1])}" for arm, mean in zip(arms, means, strict=True) if mean
  )
  drawn = marks.picture(paint, prefix, label, y_label=f"{study.curve_label}, validation" if study.curve_label else "")
  note = "Bands: 95 %, Student's t." if any(len(arm.curves) > 1 for arm in arms) else ""
  return Panel(_titled("Learning curves", title), drawn, _keys(study, arms, styles), note, paint)


def _rates(study: StudyPlot, title: str, arms: list[ArmData], styles: list[Style], prefix: str) -> Panel | None:
  tried = [sorted((lr, y) for lr, y in arm.tuning if lr > 0 and math.isfinite(numbers.value(y))) for arm in arms]
  if not any(tried):
    return None

  def paint(ax) -> None:
    for arm, points, style in zip(arms, tried, styles, strict=True):
      marks.line(ax, [(math.log10(lr), y) for lr, y in points], style)
      for lr, y in points:
        if arm.chosen_lr is not None and math.isclose(lr, arm.chosen_lr, rel_tol=1e-6):
          at = math.log10(lr)
          ax.plot([at], [y], marker="o", ms=12, mfc="none", mec=style.color, mew=1.4)
          if arm.edge:
            side = 1 if lr == points[-1][0] else -1
            ax.annotate(
              "▶" if side > 0 else "◀",
              (at, y),
              (13 * side, 0),
              textcoords="offset points",
              ha="center",
              va="center",
              color=style.color,
            )
    rates = sorted({lr for points in tried for lr, _ in points})
    shown = rates[:: math.ceil(len(rates) / 6)]
    ax.set_xticks([math.log10(lr) for lr in shown], [f"{lr:.3g}" for lr in shown])
    ax.margins(x=0.07, y=0.14)
    ax.set_xlabel("learning rate (log scale)")

  chosen = [f"{arm.name}: {arm.chosen_lr:.3g}{' on the edge' if arm.edge else ''}" for arm in arms if arm.chosen_lr]
  note = "Ringed: the rate chosen on tuning seeds." if chosen else ""
  if any(arm.edge for arm in arms):
    note += " ▶: on the edge of its grid."
  said = "Learning rates tried; chosen: " + ", ".join(chosen)
  drawn = marks.picture(paint, prefix, said, y_label=f"{study.y_label}, tuning seeds" if study.y_label else "")
  return Panel(_titled("Learning rates tried", title), drawn, _keys(study, arms, styles), note, paint)


# ---------------------------------------------------------------------------------------------------------------------
# Parts


def _scale(swept: Sequence[float]) -> Callable[[float | None], float]:
  """log2 for positive sweeps over a factor of eight and more, else the number itself."""
  if swept[0] > 0 and swept[-1] / swept[0] >= 8:
    return lambda x: math.log2(numbers.value(x))
  return numbers.value


def _mean_curve(curves: Sequence, within: tuple[float, float] = LINE) -> list[tuple[float, float, float, float]]:
  """(step, mean, low, high) over the seeds that have a finite number there; Student's t within the range."""
  import scipy.stats

  by_step: dict[float, list[float]] = {}
  for curve in curves:
    for step, y in curve:
      by_step.setdefault(float(step), []).extend(finite([y]))
  steps = [step for step in sorted(by_step) if by_step[step]]
  stride = max(1, math.ceil(len(steps) / POINTS))
  rows = []
  for step in dict.fromkeys([*steps[::stride], *steps[-1:]]):
    values = by_step[step]
    mean, n = statistics.fmean(values), len(values)
    reach = float(scipy.stats.t.isf(0.025, n - 1)) * statistics.stdev(values) / math.sqrt(n) if n > 1 else 0.0
    rows.append((step, mean, max(mean - reach, min(within[0], mean)), min(mean + reach, max(within[1], mean))))
  return rows


def _keys(study: StudyPlot, arms: Sequence[ArmData], styles: Sequence[Style]) -> tuple[tuple[Style, str], ...]:
  """Ordered arms go by their number (the axis label stands before the first), the others by name."""
  if len(arms) < 2:
    return ()
  ordered = styles[0].color in svg.ORDERED
  labels = [numbers.number(arm.x) if ordered else marks.brief(arm.name) for arm in arms]
  if ordered and study.x_label:
    labels[0] = f"{study.x_label} {labels[0]}"
  return tuple(zip(styles, labels, strict=True))


def _spoken(study: StudyPlot) -> str:
  parts = []
  for arm in study.arms:
    values = finite(arm.values)
    parts.append(f"{arm.name}: {numbers.number(statistics.fmean(values)) if values else 'no finite number'}")
  return f"{study.y_label or 'metric'}, mean per arm. " + "; ".join(parts)


def _what(study: StudyPlot, by: str) -> str:
  name = study.y_label or "metric"
  comma = "," if "," in name else ""
  return f"{name[0].upper()}{name[1:]}{comma} {by}" if by.split()[1:] else name


def _titled(what: str, title: str) -> str:
  return f"{what}, {title}" if title else what


def _note(study: StudyPlot) -> str:
  lost = sum(len(arm.values) - len(finite(arm.values)) for arm in study.arms)
  found = [
    (_interval(values, study.within).method, len(values)) for arm in study.arms if (values := finite(arm.values))
  ]
  how = methods.intervals(found)
  note = f"Dots: seeds. Bars: 95 % interval of the mean, {how}." if how else "Dots: seeds."
  levels = [name for name, level in (("chance", study.floor), ("perfect", study.ceiling)) if level is not None]
  if levels:
    note += f" Dotted: {' and '.join(levels)}."
  if lost:
    note += f" ×: {lost} seeds without a number." if lost > 1 else " ×: one seed without a number."
  return note
