"""Attention weights of a trained model with their tokens, to look at: as arrays, as a frame, as a figure."""

import base64
import dataclasses
import html
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from experiments.pages import frames, plots
from model.errors import Refused

INCHES = 2.1  # of one head's picture
MOST_TICKS = 24  # labels along one side


@dataclasses.dataclass(frozen=True, repr=False)
class Attention(Mapping[str, np.ndarray]):
  """Weights by place: `attention["encoder/0"]` is an array (B, H, T, S), the rows of a query over its keys.

  tokens: (B, T, C), what stands at the queries; source: (B, S, C) in an encoder-decoder, else None. `there` and
  `source_there` are False where a row is only filled up. With a memory (model.memory) there are more keys than tokens;
  the row's own are the last ones.
  """

  weights: Mapping[str, np.ndarray]
  tokens: np.ndarray
  there: np.ndarray
  source: np.ndarray | None = None
  source_there: np.ndarray | None = None
  spelled: tuple[str, ...] | None = None  # what each symbol looks like; None: its number

  def __getitem__(self, place: str) -> np.ndarray:
    if place not in self.weights:
      raise Refused(f"{place!r} is no place of attention here; there are {', '.join(self.weights)}")
    return self.weights[place]

  def __contains__(self, place: object) -> bool:
    return place in self.weights

  def __iter__(self) -> Iterator[str]:
    return iter(self.weights)

  def __len__(self) -> int:
    return len(self.weights)

  def __repr__(self) -> str:
    sizes = ", ".join(f"{place}: {weights.shape}" for place, weights in self.weights.items())
    return f"Attention({sizes}; batch, heads, queries, keys)"

  @property
  def rows(self) -> list[dict[str, Any]]:
    """One dict per weight: place, row, head, query and key with their tokens."""
    return [
      {"place": place, "row": b, "head": h, "query": t, "query_token": asks[t], "key": s, "key_token": keys[s]}
      | {"weight": float(weights[b, h, t, s])}
      for place, weights in self.weights.items()
      for b in range(weights.shape[0])
      for asks, keys in [self._labels(place, b)]
      for h in range(weights.shape[1])
      for t in range(weights.shape[2])
      for s in range(weights.shape[3])
      if asks[t] and keys[s]
    ]

  def frame(self) -> Any:
    """A pandas frame of `rows`."""
    return frames.frame(self.rows)

  def plot(self, row: int = 0, place: str = "") -> Any:
    """A matplotlib figure of one row of the batch: a line per place (or the one named), a picture per head."""
    if not 0 <= row < len(self.tokens):
      raise Refused(f"row={row} is not in this batch; allowed: 0 to {len(self.tokens) - 1}")
    chosen = {place: self[place]} if place else self.weights
    across = max(weights.shape[1] for weights in chosen.values())
    figure = plots.blank(INCHES * across + 0.6, INCHES * len(chosen) + 0.4)
    axes = figure.subplots(len(chosen), across, squeeze=False)
    for line, (name, weights) in zip(axes, chosen.items(), strict=True):
      for head, ax in enumerate(line):
        if head >= weights.shape[1]:
          ax.set_axis_off()
          continue
        self._head(ax, name, weights[row, head], row)
        ax.set_title(f"{name}, head {head}", fontsize=9, parse_math=False)
    figure.supxlabel("key", fontsize=9)
    figure.supylabel("query", fontsize=9)
    return figure

  def _repr_html_(self) -> str:
    picture = base64.b64encode(plots.png(self.plot())).decode()
    return f'<img alt="{html.escape(repr(self), quote=True)}" src="data:image/png;base64,{picture}"/>'

  def _head(self, ax, place: str, weights_TS: np.ndarray, row: int) -> None:
    asks, keys = self._labels(place, row)
    queries, columns = ([i for i, label in enumerate(labels) if label] for labels in (asks, keys))
    shown_TS = weights_TS[np.ix_(queries, columns)]
    low = float(shown_TS.min(initial=0.0))
    top = float(np.abs(shown_TS).max(initial=0.0)) if low < 0 else max(1.0, float(shown_TS.max(initial=0.0)))
    shades = {"cmap": "RdBu_r", "vmin": -top, "vmax": top} if low < 0 else {"cmap": "Blues", "vmin": 0.0, "vmax": top}
    ax.imshow(shown_TS, aspect="auto", interpolation="nearest", **shades)
    _ticks(ax.set_xticks, [keys[i] for i in columns], rotation=90)
    _ticks(ax.set_yticks, [asks[i] for i in queries])

  def _labels(self, place: str, row: int) -> tuple[list[str], list[str]]:
    """The tokens at queries and keys of a place, "" where nothing stands."""
    own, source = _texts(self.tokens[row], self.there[row], self.spelled), []
    if self.source is not None and self.source_there is not None:
      source = _texts(self.source[row], self.source_there[row])
    if source and place.startswith("encoder"):
      own = source
    keys = source if source and place.endswith("/cross") else own
    before = self.weights[place].shape[-1] - len(keys)
    return own, [*(f"-{before - i}" for i in range(before)), *keys]


def _texts(tokens_TC: np.ndarray, there_T: np.ndarray, spelled: tuple[str, ...] | None = None) -> list[str]:
  """A token's symbol as it is spelled or by its number, or its fields as "3.0.2"."""
  told = [spelled[fields[0]] if spelled else ".".join(map(str, fields)) for fields in tokens_TC.tolist()]
  return [text if there else "" for text, there in zip(told, there_T.tolist(), strict=True)]


def _ticks(write, labels: list[str], **text) -> None:
  stride = -(-len(labels) // MOST_TICKS) or 1
  write(range(0, len(labels), stride), labels[::stride], fontsize=7, parse_math=False, **text)
