"""Every option that configurations share, once: name, type, default, meaning, choices and range; no jax in here.

`configs/` completes, checks and lists by it, `model/` and `train/` build by it. What belongs to one kind alone (a
mechanism, a scheme, a cell, a feed-forward layer, a task) stands in the signature of that kind's constructor.
"""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

INITS = ("lecun", "glorot", "torch", "gpt2")


def option(default: Any, meaning: str, **limits: Any) -> Any:
  """A field of a section; limits: choices, or low (allowed), above (not allowed) and below (not allowed)."""
  return dataclasses.field(default=default, metadata={"meaning": meaning, **limits})


@dataclasses.dataclass(frozen=True)
class Slot:
  """{"kind": ..., **options of the kind}; by default those of the kind's constructor."""

  kind: str


def kinds(family: str, meaning: str) -> dict[str, str]:
  """What a field with a Slot says of itself: the family its kinds are of, and what it is for."""
  return {"family": family, "meaning": meaning}


@dataclasses.dataclass(frozen=True)
class Wiring:
  """What stands around the sublayers of a block."""

  norm: str = option("pre", "where layer normalization stands", choices=("pre", "post", "none"))
  residual: bool = option(True, "add the sublayer's input to its output")
  order: str = option("af", "sublayers: a attention, f feed-forward, p both in parallel; repeated over the layers")
  eps: float = option(1e-6, "added to the variance in every layer normalization; PyTorch has 1e-5", above=0)


@dataclasses.dataclass(frozen=True)
class Init:
  """What the initial values of parameters are drawn from."""

  kind: str = option("glorot", "scheme of initial weights", choices=INITS)
  qk: str = option("", 'another scheme for query and key projections, "" = the same', choices=("", *INITS, "torch_mha"))
  gain: float = option(1.0, "multiplies every initial matrix", low=0)
  qk_gain: float = option(1.0, "multiplies initial query and key projections once more", low=0)
  out_gain: float = option(1.0, "multiplies the last initial matrix of every sublayer once more", low=0)


@dataclasses.dataclass(frozen=True)
class Model:
  """The model; `kind` is the whole, the slots are its parts."""

  kind: str = option("bert", "the whole model (model/models/<kind>.py)", family="models")
  width: int = option(64, "features per token", low=1)
  heads: int = option(4, "query heads", low=1)
  kv_heads: int = option(0, "key and value heads, a divisor of heads; 0 = heads, 1 = multi-query", low=0)
  head_dim: int = option(0, "features per head of queries and keys; 0 = width / heads", low=0)
  value_dim: int = option(0, "features per head of values; 0 = head_dim", low=0)
  depth: int = option(1, "layers, of the encoder and of the decoder each where there are both", low=1)
  tie: str = option("none", "projections that share one matrix", choices=("none", "qk", "kv", "qkv"))
  projections: str = option("qkvo", "which of query, key, value and output projection exist; the others are identities")
  bias: bool = option(False, "biases in the four attention projections")
  itself: bool = option(True, "a token may attend to itself")
  window: int = option(0, "keys seen on either side: distance < window; 0 = all", low=0)
  segment: int = option(
    0, "tokens per stretch of Transformer-XL: a stretch sees itself and the memory before it; 0 = no cut", low=0
  )
  memory: int = option(
    0, "tokens before its stretch that a layer remembers, without gradient; needs model.segment", low=0
  )
  block: int = option(0, "keys per block of the blockwise path (less memory); 0 = dense", low=0)
  dropout: float = option(0.0, "share of activations dropped in training", low=0, below=1)
  attention_dropout: float = option(0.0, "share of attention weights dropped in training", low=0, below=1)
  direction: str = option(
    "forward",
    "recurrent: ways of reading, both joined in every layer or apart until the top (ELMo)",
    choices=("forward", "both", "apart"),
  )
  reads: str = option(
    "none",
    "recurrent: attention after the cell (Luong), before it (Bahdanau; needs a source) or none",
    choices=("none", "after", "before"),
  )
  wiring: Wiring = dataclasses.field(default_factory=Wiring)
  attention: Slot = dataclasses.field(
    default=Slot("dot"), metadata=kinds("attention", "the mechanism (model/attention/<kind>.py)")
  )
  position: Slot = dataclasses.field(
    default=Slot("none"), metadata=kinds("position", "how order is told (model/position/<kind>.py)")
  )
  feedforward: Slot = dataclasses.field(
    default=Slot("relu"), metadata=kinds("feedforward", "the sublayer after attention (model/feedforward/<kind>.py)")
  )
  cell: Slot = dataclasses.field(
    default=Slot("lstm"), metadata=kinds("cell", "recurrent: the cell (model/cell/<kind>.py)")
  )
  init: Init = dataclasses.field(default_factory=Init)


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The learning rate over time, as a share of its peak."""

  # In the order in which train/optim.py counts them: the index is a number of the compiled program.
  kind: str = option(
    "constant",
    "course of the learning rate",
    choices=("constant", "warmup", "cosine", "exponential", "warmup_cosine", "inverse_sqrt"),
  )
  warmup: int = option(0, "updates of linear rise, where the schedule has one", low=0)
  rate: float = option(4.0, "exponential: falls to exp(-rate) of the peak at the last update", low=0)


@dataclasses.dataclass(frozen=True)
class Optim:
  """The optimizer and the training loss."""

  kind: str = option("adam", "adamw decays matrices and tables, sgd has momentum 0.9", choices=("adam", "adamw", "sgd"))
  lr: float = option(1e-2, "peak learning rate", above=0)
  b1: float = option(0.9, "decay of Adam's mean of gradients", low=0, below=1)
  b2: float = option(0.98, "decay of Adam's mean of squares", low=0, below=1)
  weight_decay: float = option(0.0, "decoupled, per update in units of the learning rate; needs adamw", low=0)
  clip: float = option(1.0, "largest global norm of a gradient; 0 = no clipping", low=0)
  label_smoothing: float = option(0.0, "probability spread over all classes in the training loss", low=0, below=1)
  schedule: Schedule = dataclasses.field(default_factory=Schedule)


@dataclasses.dataclass(frozen=True)
class Train:
  """How much is trained."""

  steps: int = option(300, "parameter updates", low=1)
  batch: int = option(32, "sequences per update", low=1)
  compute: str = option(
    "float32", "type of activations; parameters and softmax stay float32", choices=("float32", "bfloat16")
  )


@dataclasses.dataclass(frozen=True)
class Eval:
  """How often and on what it is measured."""

  every: int = option(20, "updates between evaluations; divides train.steps, and is what one compiled call runs", low=1)
  batches: int = option(4, "batches per evaluation", low=1)
  batch: int = option(64, "sequences per evaluation batch", low=1)
  split: str = option("validation", "streams apart from training", choices=("validation", "test"))
  judge: bool = option(False, "decode at the end of the run and score whole outputs, where the task can")


@dataclasses.dataclass(frozen=True)
class Config:
  """A whole configuration: a small encoder on the recall task, which trains in seconds on a CPU."""

  seed: int = option(0, "root of every random stream: initial values, batches, dropout", low=0)
  model: Model = dataclasses.field(default_factory=Model)
  task: Slot = dataclasses.field(
    default=Slot("recall"), metadata=kinds("tasks", "which data, and that task's own options (train/tasks/<kind>.py)")
  )
  optim: Optim = dataclasses.field(default_factory=Optim)
  train: Train = dataclasses.field(default_factory=Train)
  eval: Eval = dataclasses.field(default_factory=Eval)
  probes: tuple[str, ...] = option((), "names of files in experiments/probes/ whose numbers are stored with the trial")


def defaults(part: Any = None) -> dict[str, Any]:
  """Nested {name: default} of a section's instance, by default of a whole configuration."""
  return dataclasses.asdict(Config() if part is None else part)


# ---------------------------------------------------------------------------------------------------------------------
# The same by dotted key


@dataclasses.dataclass(frozen=True)
class Option:
  """One key, such as model.wiring.eps. family: of a kind, whose choices are the files of a folder."""

  key: str
  type: str  # as in a signature: "int", "tuple[str, ...]"
  default: Any
  meaning: str
  choices: tuple[str, ...] = ()
  low: float | None = None
  above: float | None = None
  below: float | None = None
  family: str = ""

  def complaint(self, value: Any) -> str:
    """What is wrong with a value of the right type, in one line; "" where nothing is."""
    if self.choices and value not in self.choices:
      words = ", ".join(one or '""' for one in self.choices)
      return f"{self.key}={value!r} is unknown: {suggestion(str(value), self.choices)}allowed: {words}"
    if not self._holds(value):
      return f"{self.key}={value} is out of range; allowed: {self.bounds()} ({self.meaning})"
    return ""

  def bounds(self) -> str:
    """The allowed numbers in words: "0 or more and below 1"; "" where all are."""
    said = {"{} or more": self.low, "above {}": self.above, "below {}": self.below}
    return " and ".join(words.format(number) for words, number in said.items() if number is not None)

  def _holds(self, value: Any) -> bool:
    limited = self.low is not None or self.above is not None
    return not limited or (
      math.isfinite(value)
      and (self.low is None or value >= self.low)
      and (self.above is None or value > self.above)
      and (self.below is None or value < self.below)
    )


def _options(cls: type, prefix: str = "") -> Iterator[Option]:
  for field in dataclasses.fields(cls):
    key, default = f"{prefix}{field.name}", field.default
    if isinstance(default, Slot):
      yield Option(f"{key}.kind", "str", default.kind, **field.metadata)
    elif dataclasses.is_dataclass(field.type):
      yield from _options(field.type, f"{key}.")  # pyright: ignore[reportArgumentType]
    else:
      kind = field.type.__name__ if type(field.type) is type else str(field.type)
      yield Option(key, kind, default, **field.metadata)


OPTIONS: Mapping[str, Option] = {one.key: one for one in _options(Config)}


def complaints(flat: Mapping[str, Any]) -> Iterator[str]:
  """What is wrong with the values of a flat configuration, or of its part `model`, whose types are right."""
  for key, one in OPTIONS.items():
    if key in flat and (complaint := one.complaint(flat[key])):
      yield complaint
  if "model.width" in flat:
    yield from _heads(flat)


def _heads(flat: Mapping[str, Any]) -> Iterator[str]:
  """Heads must come out whole, and queries that are shared be as many as what they are shared with."""
  names = ("width", "heads", "kv_heads", "head_dim", "tie")
  width, heads, kv_heads, head_dim, tie = (flat[f"model.{name}"] for name in names)
  if not head_dim and width % heads:
    fit = _divisors(width)
    yield f"model.heads={heads} does not divide model.width={width}; choose one of {fit}, or set model.head_dim"
  if kv_heads and heads % kv_heads:
    fit = _divisors(heads)
    yield f"model.kv_heads={kv_heads} does not divide model.heads={heads}; choose one of {fit}, or 0 for as many"
  if "q" in tie and kv_heads not in (0, heads):
    yield f"model.tie={tie} with kv_heads={kv_heads} and heads={heads}: sharing the query needs model.kv_heads=0"


def _divisors(number: int) -> str:
  return ", ".join(str(part) for part in range(1, number + 1) if number % part == 0)


def wrong_order(order: str, depth: int) -> str:
  """Why no stack of `depth` layers has this order of sublayers, such as "af"; "" where it has."""
  layers = len(order) if set(order) == {"p"} else order.count("a")
  if set(order) != {"p"} and (not layers or sorted(order) != sorted("af" * layers)):
    return f"wiring.order={order!r} must hold as many a as f, or p alone; allowed: such as af, fa, aaff or p"
  if depth % layers:
    return f"wiring.order={order!r} serves {layers} layers at a time; set model.depth={depth} to a multiple"
  return ""


def suggestion(word: str, allowed: Iterable[object]) -> str:
  """The words "did you mean dot? ", or none; among dotted keys the last name alone is enough."""
  words = [str(one) for one in allowed]
  last = word.rpartition(".")[2]
  close = [one for one in words if one.rpartition(".")[2] == last] or difflib.get_close_matches(word, words, 1)
  if not close:
    leaves = {one.rpartition(".")[2]: one for one in reversed(words)}
    close = [leaves[one] for one in difflib.get_close_matches(last, leaves, 1, 0.7)]
  return f"did you mean {close[0]}? " if close else ""


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
  """{"model": {"width": 64}} -> {"model.width": 64}."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, Mapping) and value:
      flat.update(flatten(value, f"{prefix}{name}."))
    else:
      flat[f"{prefix}{name}"] = value
  return flat
