"""The rules that every configuration obeys; each is refused in one line, before anything is compiled or written."""

import functools
from collections.abc import Iterator, Mapping

from configs import base, slots
from configs.errors import Refused
from configs.values import conform, describe, type_of

__all__ = ["Refused", "check", "flatten", "schema"]

MODELS = ("bert", "gpt", "seq2seq", "rnn", "rnn_seq2seq")
DIRECTIONS = ("forward", "both", "apart")
READS = ("none", "after", "before")
TIES = ("none", "qk", "kv", "qkv")
NORMS = ("pre", "post", "none")
INITS = ("lecun", "glorot", "torch", "gpt2")
QK_INITS = ("", *INITS, "torch_mha")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "warmup", "cosine", "exponential", "warmup_cosine", "inverse_sqrt")
COMPUTES = ("float32", "bfloat16")
SPLITS = ("validation", "test")
CHOICES = {
  "model.kind": MODELS,
  "model.tie": TIES,
  "model.direction": DIRECTIONS,
  "model.reads": READS,
  "model.wiring.norm": NORMS,
  "model.init.kind": INITS,
  "model.init.qk": QK_INITS,
  "optim.kind": OPTIMIZERS,
  "optim.schedule.kind": SCHEDULES,
  "train.compute": COMPUTES,
  "eval.split": SPLITS,
}
AT_LEAST = {  # key: lowest value
  "seed": 0,
  "model.width": 1,
  "model.heads": 1,
  "model.kv_heads": 0,
  "model.head_dim": 0,
  "model.value_dim": 0,
  "model.depth": 1,
  "model.window": 0,
  "model.segment": 0,
  "model.memory": 0,
  "model.block": 0,
  "model.feedforward.hidden": 0,
  "model.init.gain": 0,
  "model.init.qk_gain": 0,
  "model.init.out_gain": 0,
  "optim.weight_decay": 0,
  "optim.clip": 0,
  "optim.schedule.warmup": 0,
  "optim.schedule.rate": 0,
  "train.steps": 1,
  "train.batch": 1,
  "eval.every": 1,
  "eval.batches": 1,
  "eval.batch": 1,
}
SHARES = ("model.dropout", "optim.b1", "optim.b2", "optim.label_smoothing")  # in [0, 1)


def flatten(tree: Mapping, prefix: str = "") -> dict:
  """{"model": {"width": 64}} -> {"model.width": 64}."""
  flat = {}
  for name, value in tree.items():
    if isinstance(value, Mapping) and value:
      flat.update(flatten(value, f"{prefix}{name}."))
    else:
      flat[f"{prefix}{name}"] = value
  return flat


def schema(config: Mapping) -> dict[str, str]:
  """The type of every key this configuration may hold, by the kinds that stand in its slots."""
  types = dict(_base_types())
  for slot, family in slots.SLOTS.items():
    kind = _at(config, slot).get("kind")
    if not isinstance(kind, str):
      raise Refused(f"{slot}.kind={kind!r} must be a word; allowed: {', '.join(slots.kinds(family))} or file.py:Class")
    options = slots.options(family, kind)
    types.update({f"{slot}.{name}": option["type"] for name, option in options.items()})
  return types


def check(config: Mapping) -> None:
  """Raises Refused for the first rule that a complete configuration breaks; `config` is a plain dict of dicts."""
  flat, types = flatten(config), schema(config)
  for key, value in flat.items():
    if key not in types:
      raise Refused(unknown(key, value, types))
    try:
      conform(value, types[key])
    except ValueError as error:
      raise Refused(f"{key}={value!r} has the wrong type or size; {error}") from None
  for key in types:
    if key not in flat:
      raise Refused(f"{key} is missing; give it: {describe(types[key])}")
  for complaint in _complaints(flat):
    raise Refused(complaint)


def unknown(key: str, value, types: Mapping[str, str]) -> str:
  """The refusal of a key that no one reads."""
  section = key.rpartition(".")[0]
  while section and not any(one.startswith(f"{section}.") for one in types):
    section = section.rpartition(".")[0]
  names = [
    one.removeprefix(f"{section}.").partition(".")[0] for one in types if not section or one.startswith(f"{section}.")
  ]
  inside = f" in {section}" if section else ""
  return (
    f"unknown key {key}={value!r}: {slots.suggestion(key, types)}allowed{inside}: {', '.join(dict.fromkeys(names))}"
  )


@functools.cache
def _base_values() -> Mapping[str, object]:
  return flatten(base.get_config().to_dict())


@functools.cache
def _base_types() -> Mapping[str, str]:
  return {key: type_of(value) for key, value in _base_values().items()}


def _complaints(flat: Mapping) -> Iterator[str]:
  for key, allowed in CHOICES.items():
    if flat[key] not in allowed and not (key == "model.kind" and ":" in flat[key]):  # a user's own file.py:Class
      words = ", ".join(one or '""' for one in allowed)
      yield f"{key}={flat[key]!r} is unknown: {slots.suggestion(str(flat[key]), allowed)}allowed: {words}"
  for key, low in AT_LEAST.items():
    if key in flat and flat[key] < low:
      yield f"{key}={flat[key]} is too small; allowed: {low} or more"
  for key in SHARES:
    if not 0 <= flat[key] < 1:
      yield f"{key}={flat[key]} is no share; allowed: 0 or more and below 1"
  yield from _shape_complaints(flat)
  yield from _family_complaints(flat)
  yield from _run_complaints(flat)
  yield from _task_complaints(flat)


def _shape_complaints(flat: Mapping) -> Iterator[str]:
  """Rules about heads: every size must come out whole, and tied projections must have one shape."""
  width, heads, kv_heads, head_dim, value_dim, tie = (
    flat[f"model.{name}"] for name in ("width", "heads", "kv_heads", "head_dim", "value_dim", "tie")
  )
  if not head_dim and width % heads:
    yield f"model.heads={heads} does not divide model.width={width}; choose a divisor or set model.head_dim"
  head_dim = head_dim or width // heads
  if kv_heads and heads % kv_heads:
    yield f"model.kv_heads={kv_heads} does not divide model.heads={heads}; choose a divisor, or 0 for as many"
  if "q" in tie and kv_heads not in (0, heads):
    yield f"model.tie={tie} with kv_heads={kv_heads} and heads={heads}: sharing the query needs model.kv_heads=0"
  if flat["model.wiring.eps"] <= 0:
    yield f"model.wiring.eps={flat['model.wiring.eps']} lets a constant row divide by zero; allowed: above 0"
  if "v" in tie and value_dim not in (0, head_dim):
    yield f"model.tie={tie} with value_dim={value_dim} and head_dim={head_dim}: sharing values needs model.value_dim=0"


def _family_complaints(flat: Mapping) -> Iterator[str]:
  """Options that one family of models reads and the other would pass over in silence."""
  kind, recurrent = flat["model.kind"], ("model.direction", "model.reads")
  if kind in ("rnn", "rnn_seq2seq"):
    plain = {"model.window": 0, "model.itself": True, "model.segment": 0, "model.memory": 0, "model.wiring.order": "af"}
    for key in (key for key, value in plain.items() if flat[key] != value):
      yield f"{key}={flat[key]} has no effect on model.kind={kind}; set it to {plain[key]}, or choose another kind"
  elif ":" not in kind:
    plain = _base_values()
    for key in (key for key in recurrent if flat[key] != plain[key]):
      yield f"{key}={flat[key]} belongs to recurrent models: set model.kind=rnn or rnn_seq2seq, or {key}={plain[key]}"
  if kind == "rnn" and flat["model.reads"] == "before":
    yield "model.reads=before needs a source, which model.kind=rnn has not; allowed: after, none"
  if flat["model.memory"] and not flat["model.segment"]:
    yield f"model.memory={flat['model.memory']} remembers earlier stretches; set model.segment to their length"


def _run_complaints(flat: Mapping) -> Iterator[str]:
  """Rules about the optimizer and the run."""
  if flat["optim.lr"] <= 0:
    yield f"optim.lr={flat['optim.lr']} trains nothing; allowed: above 0"
  kind, decay = flat["optim.kind"], flat["optim.weight_decay"]
  if decay and kind != "adamw":
    yield f"optim.weight_decay={decay} has no effect with optim.kind={kind}; set optim.kind=adamw or the decay to 0"
  steps, every, warmup = flat["train.steps"], flat["eval.every"], flat["optim.schedule.warmup"]
  if warmup > steps:
    yield f"optim.schedule.warmup={warmup} is longer than train.steps={steps}; allowed: 0 to {steps}"
  schedule = flat["optim.schedule.kind"]
  if not warmup and schedule in ("warmup", "warmup_cosine"):
    yield f"optim.schedule.kind={schedule} does not warm up with optim.schedule.warmup=0; allowed: 1 to {steps}"
  if steps % every:
    divisor = next(n for n in range(min(every, steps), 0, -1) if steps % n == 0)
    yield f"eval.every={every} does not divide train.steps={steps}; allowed: a divisor, such as eval.every={divisor}"
  if len(set(flat["probes"])) < len(flat["probes"]):
    yield f"probes={','.join(flat['probes'])} names a probe twice; name each once"


def _task_complaints(flat: Mapping) -> Iterator[str]:
  """Ranges that a task's constructor states in plain numbers, so that they need no building."""
  for name, option in slots.options("tasks", flat["task.kind"]).items():
    value, low, high = flat[f"task.{name}"], option.get("low"), option.get("high")
    if (low is not None and value < low) or (high is not None and value > high):
      yield f"task.{name}={value} is out of range; allowed: {low}" + (" or more" if high is None else f" to {high}")
  if flat["task.kind"] == "recall":
    shown, keys = flat["task.pairs"] + flat.get("task.distractors", 0), flat["task.keys"]
    if shown > keys:
      yield f"task.keys={keys} is below pairs + distractors = {shown}, whose keys differ; allowed: {shown} or more"


def _at(config: Mapping, path: str) -> Mapping:
  node = config
  for name in path.split("."):
    node = node.get(name, {}) if isinstance(node, Mapping) else {}
  return node if isinstance(node, Mapping) else {}
