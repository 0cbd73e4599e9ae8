"""Which keys have no effect on what a configuration builds and trains.

A key that cannot matter is refused when the user sets it, to something other than the value it has anyway: two arms, or
two points of a sweep, that differ in nothing but such a key are one and the same model, and must not be compared.
Defaults and what a card brings with it stay, so that a card of ours may be given another kind.

The rules stand here alone; tests/configs/test_effect.py holds them against the programs that are compiled.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from configs import Refused, slots

WARMING = ("warmup", "warmup_cosine", "inverse_sqrt")
STACK = (  # of blocks, which recurrent models have none of
  "model.itself",
  "model.memory",
  "model.segment",
  "model.window",
  "model.position",
  "model.feedforward",
  "model.wiring",
)
HEADS = (  # of attention
  "model.attention",
  "model.attention_dropout",
  "model.bias",
  "model.block",
  "model.head_dim",
  "model.heads",
  "model.init.qk",
  "model.init.qk_gain",
  "model.kv_heads",
  "model.projections",
  "model.tie",
  "model.value_dim",
)
CELLS = ("model.cell", "model.direction", "model.reads")

Flat = Mapping[str, Any]


def refuse_idle(flat: Flat, before: Flat, keys: Iterable[str]) -> None:
  """Raises Refused for the first of `keys`, set by the user, that differs from `before` and has no effect in `flat`."""
  for key in keys:
    if key in flat and flat[key] != before.get(key) and not _needed(key, flat, before):
      reason = idle(key, flat)
      if reason:
        raise Refused(_complaint(key, flat, reason))


def refuse_idle_everywhere(configs: Iterable[Flat], before: Flat, keys: Iterable[str]) -> None:
  """Raises Refused for the first of `keys`, set for all arms or points alike, that has no effect in any of them."""
  configs = list(configs)
  for key in keys:
    changed = [flat for flat in configs if key in flat and flat[key] != before.get(key)]
    reasons = [idle(key, flat) for flat in changed]
    if reasons and all(reasons):
      raise Refused(_complaint(key, changed[0], reasons[0]))


def idle(key: str, flat: Flat) -> str:
  """Why a key has no effect in a complete flat configuration, such as "with optim.kind=sgd"; "" where it has one."""
  for rule in RULES:
    for prefix, reason in rule(flat):
      if key == prefix or key.startswith(f"{prefix}."):
        return reason
  for twin, value, reason in synonyms(flat):
    if key == twin:
      return f"{reason}: it is {key}={_shown(value)}"
  return ""


def synonyms(flat: Flat) -> Iterator[tuple[str, object, str]]:
  """Keys whose value is here another name for a second one: (key, that value, where)."""
  if flat["model.tie"] == "qk" and supports(flat).get("tied") and attends(flat) and not looks_by_dot(flat):
    yield "model.tie", "none", f"with model.attention.kind={flat['model.attention.kind']}, whose keys are its queries"
  if flat["model.direction"] == "apart" and flat["model.depth"] == 1:
    yield "model.direction", "both", "of its own with model.depth=1, where two ways meet at once"
  layers = flat.get("model.attention.layers")
  if (
    flat["model.attention.kind"] == "banded" and isinstance(layers, tuple | list) and len(layers) > flat["model.depth"]
  ):
    depth = flat["model.depth"]
    yield "model.attention.layers", tuple(layers[:depth]), f"beyond model.depth={depth}"
  if flat["optim.kind"] == "adamw" and not flat["optim.weight_decay"]:
    yield "optim.kind", "adam", "of its own with optim.weight_decay=0"


def has_blocks(flat: Flat) -> bool:
  """Whether the model is a stack of blocks; False for a user's own, of which nothing is known."""
  return slots.model(flat["model.kind"], "built_of") == "blocks"


def has_cells(flat: Flat) -> bool:
  """Whether the model is built of recurrent cells; False for a user's own, of which nothing is known."""
  return slots.model(flat["model.kind"], "built_of") == "cells"


def attends(flat: Flat) -> bool:
  """Whether the model has heads of attention at all."""
  return not has_cells(flat) or flat["model.reads"] != "none"


def crosses_only(flat: Flat) -> bool:
  """Whether attention only looks from one sequence at another."""
  return has_cells(flat) and bool(slots.model(flat["model.kind"], "reads_source"))


def looks_ahead(flat: Flat) -> bool:
  """Whether a token sees those after it, in the sequence that is judged; False for a user's own model."""
  return flat["model.kind"] == "bert" or (flat["model.kind"] == "rnn" and flat["model.direction"] != "forward")


def asks_for_next(flat: Flat) -> bool:
  """Whether the task's answers are its next inputs, as its class says."""
  options = {key.removeprefix("task."): value for key, value in flat.items() if key.startswith("task.")}
  return slots.stated("tasks", str(flat["task.kind"]), "asks_for_next", options) is True


def looks_by_dot(flat: Flat) -> bool:
  """Whether dot stands in for the mechanism, whose pattern has no meaning between two sequences."""
  return crosses_only(flat) and attends(flat) and not supports(flat).get("cross", True)


def supports(flat: Flat) -> Mapping[str, object]:
  """What the mechanism can do; empty where its source does not say."""
  return slots.told("attention", str(flat["model.attention.kind"])).get("supports", {})


def _family(flat: Flat) -> Iterator[tuple[str, str]]:
  """What one family of models has and the other has not. Of a user's own model nothing is known."""
  kind = flat["model.kind"]
  if has_cells(flat):
    yield from ((key, f"on model.kind={kind}, which has no such layers") for key in STACK)
  elif has_blocks(flat):
    yield from ((key, f"on model.kind={kind}, which has no cells") for key in CELLS)
  if not attends(flat):
    yield from ((key, f"on model.kind={kind} with model.reads=none, which has no attention") for key in HEADS)


def _attention(flat: Flat) -> Iterator[tuple[str, str]]:
  """Options of attention that others put out of force."""
  kind, projections = flat["model.attention.kind"], str(flat["model.projections"])
  if looks_by_dot(flat):
    yield "model.attention", f"on model.kind=rnn_seq2seq, whose cross-attention takes dot in place of {kind}"
  if crosses_only(flat) and flat["model.reads"] == "before":
    yield "model.block", "with model.reads=before, which asks for one token at a time"
  if not projections:
    yield "model.bias", "with model.projections='', which has none to add it to"
  if not set(projections) & {"q", "k"}:
    for key in ("model.init.qk", "model.init.qk_gain"):
      yield key, f"with model.projections={projections!r}, without queries' and keys' projections"


def _mechanisms(flat: Flat) -> Iterator[tuple[str, str]]:
  """Options of a mechanism that its other options put out of force."""
  kind, options = flat["model.attention.kind"], {k: v for k, v in flat.items() if k.startswith("model.attention.")}
  if kind == "banded":
    for key in ("windows", "layers"):
      if options["model.attention." + key]:
        yield "model.attention.window", f"with model.attention.{key}={_shown(options['model.attention.' + key])}"
    if not options["model.attention.anchors"] and not options["model.attention.symbols"]:
      yield "model.attention.most", "without model.attention.anchors and symbols"
  if kind == "block_sparse":
    pattern = options["model.attention.pattern"]
    for key in ("globals", "random") if pattern != "bigbird" else ():
      yield f"model.attention.{key}", f"with model.attention.pattern={pattern}"
    if pattern != "fixed":
      yield "model.attention.columns", f"with model.attention.pattern={pattern}"


def _layers(flat: Flat) -> Iterator[tuple[str, str]]:
  """Options of the other layers."""
  feedforward, blocks, cells = flat["model.feedforward.kind"], has_blocks(flat), has_cells(flat)
  if blocks and feedforward == "none":
    yield "model.wiring.order", "with model.feedforward.kind=none: attention stands alone"
  if blocks and flat["model.wiring.norm"] == "none":
    yield "model.wiring.eps", "with model.wiring.norm=none"
  if flat["model.position.kind"] in ("shaw", "xl") and flat["model.depth"] == 1:
    yield "model.position.shared", "with model.depth=1, where one layer has nobody to share with"
  has_out = attends(flat) and "o" in str(flat["model.projections"])
  if not has_out and (cells or (blocks and feedforward == "none")):
    yield "model.init.out_gain", "where no sublayer has a last matrix"
  if flat["model.kind"] == "gpt" and flat["model.position.kind"] == "alibi":
    yield "model.position.ahead", "on model.kind=gpt, which never looks ahead"
  if cells and flat.get("model.cell.chrono") and flat["model.cell.kind"] in ("lstm", "scan"):
    yield "model.cell.forget_bias", "with model.cell.chrono, which stands in its place"


def _optimizer(flat: Flat) -> Iterator[tuple[str, str]]:
  kind, schedule = flat["optim.kind"], flat["optim.schedule.kind"]
  if kind == "sgd":
    yield from ((key, "with optim.kind=sgd, whose momentum is 0.9") for key in ("optim.b1", "optim.b2"))
  if kind != "adamw":
    yield "optim.weight_decay", f"with optim.kind={kind}, which decays nothing"
  if schedule not in WARMING:
    yield "optim.schedule.warmup", f"with optim.schedule.kind={schedule}"
  if schedule != "exponential":
    yield "optim.schedule.rate", f"with optim.schedule.kind={schedule}"


def _task(flat: Flat) -> Iterator[tuple[str, str]]:
  kind = str(flat["task.kind"])
  defines = slots.told("tasks", kind).get("defines")
  if defines is not None and "judge" not in defines:
    yield "eval.judge", f"with task.kind={kind}, which decodes nothing"
  if kind == "markov" and not flat["task.sequences"]:
    yield "task.table", "with task.sequences=0: every row is fresh"


RULES: tuple[Callable[[Flat], Iterator[tuple[str, str]]], ...] = (
  _family,
  _attention,
  _mechanisms,
  _layers,
  _optimizer,
  _task,
)


def _needed(key: str, flat: Flat, before: Flat) -> bool:
  """Whether the value before would be refused: heads must divide the width, also where nothing attends."""
  width, heads = flat.get("model.width"), before.get("model.heads")
  if key != "model.heads" or not (isinstance(width, int) and isinstance(heads, int) and heads > 0):
    return False
  return not flat.get("model.head_dim") and width % heads > 0


def _complaint(key: str, flat: Flat, reason: str) -> str:
  return f"{key}={_shown(flat[key])} has no effect {reason}; leave it out, or set that otherwise"


def _shown(value: object) -> str:
  if isinstance(value, tuple | list):
    return "(" + ",".join(map(str, value)) + ")"
  return repr(value) if value == "" else str(value).lower() if isinstance(value, bool) else str(value)
