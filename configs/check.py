"""The rules that every configuration obeys; each is refused in one line, before anything is compiled or written."""

import ast
import functools
from collections.abc import Iterator, Mapping

from configs import Refused, effect, slots, source
from configs.values import conform, describe
from model.schema import OPTIONS, complaints, flatten, wrong_order

__all__ = ["Refused", "check", "flatten", "schema"]


def schema(config: Mapping) -> dict[str, str]:
  """The type of every key this configuration may hold, by the kinds that stand in its slots."""
  types = {key: option.type for key, option in OPTIONS.items()}
  for slot, family in slots.SLOTS.items():
    kind = _at(config, slot).get("kind")
    if not isinstance(kind, str):
      raise Refused(f"{slot}.kind={kind!r} must be a word; allowed: {', '.join(slots.kinds(family))} or file.py:Class")
    try:
      options = slots.options(family, kind)
    except Refused as error:
      raise Refused(slots.about(slot, error)) from None
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


def _complaints(flat: Mapping) -> Iterator[str]:
  yield from _model_complaints(flat["model.kind"])
  yield from complaints(flat)
  yield from _family_complaints(flat)
  yield from _run_complaints(flat)
  yield from _task_complaints(flat)
  yield from _wiring_complaints(flat)
  yield from _answer_complaints(flat)
  if effect.attends(flat) and ":" not in flat["model.kind"]:
    yield from _projection_complaints(flat)
    yield from _mechanism_complaints(flat)
  yield from _constructor_complaints(flat)
  yield from _probe_complaints(flat)


def _model_complaints(kind: str) -> Iterator[str]:
  try:
    slots.known_model(kind)
  except Refused as error:
    yield slots.about("model", error)


def _family_complaints(flat: Mapping) -> Iterator[str]:
  """Options that one family of models reads and the other would pass over in silence."""
  kind = flat["model.kind"]
  cells, blocks = effect.has_cells(flat), effect.has_blocks(flat)
  for key in ("model.window", "model.itself", "model.segment", "model.memory", "model.wiring.order") if cells else ():
    if flat[key] != (plain := OPTIONS[key].default):
      yield f"{key}={flat[key]} has no effect on model.kind={kind}; set it to {plain}, or choose another kind"
  for key in ("model.direction", "model.reads") if blocks else ():
    if flat[key] != (plain := OPTIONS[key].default):
      yield f"{key}={flat[key]} belongs to recurrent models: set model.kind=rnn or rnn_seq2seq, or {key}={plain}"
  if kind == "rnn" and flat["model.reads"] == "before":
    yield "model.reads=before needs a source, which model.kind=rnn has not; allowed: after, none"
  if flat["model.memory"] and not flat["model.segment"]:
    yield f"model.memory={flat['model.memory']} remembers earlier stretches; set model.segment to their length"
  tie, value_dim, (_, _, head_dim, _) = flat["model.tie"], flat["model.value_dim"], _sizes(flat)
  if "v" in tie and value_dim not in (0, head_dim):
    yield f"model.tie={tie} with value_dim={value_dim} and head_dim={head_dim}: sharing values needs model.value_dim=0"


def _run_complaints(flat: Mapping) -> Iterator[str]:
  """Rules about the optimizer and the run."""
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


# ---------------------------------------------------------------------------------------------------------------------
# What the model's parts refuse when they are built, told before anything is: in their words, from their sources.


def _wiring_complaints(flat: Mapping) -> Iterator[str]:
  """Rules of stacks and of the whole model."""
  kind, order, depth = flat["model.kind"], flat["model.wiring.order"], flat["model.depth"]
  reads_source = slots.model(kind, "reads_source")
  if effect.has_blocks(flat):
    if fault := wrong_order(order, depth):
      yield f"model.{fault}"
    if reads_source and "p" in order:
      yield f"model.wiring.order={order!r}: p has no place for cross-attention; allowed: af, fa or aaff"
  if effect.has_cells(flat) and flat["model.direction"] != "forward" and flat["model.width"] % 2:
    yield (
      f"model.width={flat['model.width']} cannot be shared by two directions; set an even width, "
      "or model.direction=forward"
    )
  has_source = slots.told("tasks", flat["task.kind"]).get("source")
  if reads_source is not None and has_source is not None and reads_source != has_source:
    fit = " or ".join(
      f"model.kind={one}" for one in slots.kinds("models") if slots.model(one, "reads_source") == has_source
    )
    has = "a source sequence" if has_source else "no source sequence"
    yield f"model.kind={kind} does not fit task.kind={flat['task.kind']}, which has {has}; set {fit}"


def _answer_complaints(flat: Mapping) -> Iterator[str]:
  """A model that sees the next symbol learns nothing by naming it."""
  if effect.looks_ahead(flat) and effect.asks_for_next(flat):
    kind, task, ways = flat["model.kind"], flat["task.kind"], flat["model.direction"]
    seeing, remedy = (
      (f"model.kind=rnn with model.direction={ways}", "model.direction=forward")
      if kind == "rnn"
      else (f"model.kind={kind}", "model.kind=gpt")
    )
    yield (
      f"{seeing} sees both ways, and task.kind={task} asks for the next symbol, which stands in its inputs: "
      f"nothing would be measured; set {remedy}"
    )


def _projection_complaints(flat: Mapping) -> Iterator[str]:
  """A projection that is left out must have nothing to do: its input is as wide as its output, and it is not shared."""
  projections, width, tie = flat["model.projections"], flat["model.width"], _tie(flat)
  heads, kv_heads, head_dim, value_dim = _sizes(flat)
  if projections != "".join(letter for letter in "qkvo" if letter in projections):
    yield (
      f"model.projections={projections!r} is no choice of the letters qkvo in this order; allowed: such as qkvo or qk"
    )
  missing = [letter for letter in "qkvo" if letter not in projections]
  spans = {"q": heads * head_dim, "k": kv_heads * head_dim, "v": kv_heads * value_dim, "o": heads * value_dim}
  for letter in missing:
    if spans[letter] != width:
      yield (
        f"model.projections={projections!r} leaves out {letter}, which maps model.width={width} to {spans[letter]}; "
        "without it the two must be equal: set it to qkvo, or the sizes"
      )
  if tie != "none" and set(missing) & set("qkv"):
    yield f"model.projections={projections!r} and tie={tie} contradict each other; set it to hold q, k and v"


def _mechanism_complaints(flat: Mapping) -> Iterator[str]:
  """What a mechanism does not support."""
  if effect.looks_by_dot(flat):
    return
  kind, can = flat["model.attention.kind"], effect.supports(flat)
  name = slots.told("attention", kind).get("class", kind)
  heads, kv_heads, *_ = _sizes(flat)
  if can.get("tied") and flat["model.tie"] == "kv":
    yield f"{name} attention uses its queries as keys: model.tie=kv cannot be; allowed: none, qk or qkv"
  if (can.get("tied") or not can.get("gqa", True)) and heads != kv_heads:
    yield f"{name} attention needs as many keys as queries, not model.kv_heads={kv_heads}; set model.kv_heads=0"
  if flat["model.block"] and not can.get("blockwise", True):
    yield f"{name} attention does not work by blocks of keys: model.block={flat['model.block']}; set model.block=0"
  if flat["model.attention_dropout"] and not can.get("dropout", True):
    value = flat["model.attention_dropout"]
    yield f"{name} attention holds no weights to drop: model.attention_dropout={value}; set model.attention_dropout=0"
  yield from _rule_complaints(flat, name, can)
  if effect.has_blocks(flat):
    hooks = slots.told("position", flat["model.position.kind"]).get("hooks") or ()
    for hook in (hook for hook in slots.HOOKS if hook in hooks and not can.get(hook, True)):
      yield (
        f"{name} attention has no place for what model.position.kind={flat['model.position.kind']} positions "
        f"{slots.HOOKS[hook]}; set model.attention.kind=dot, or positions none, sinusoidal or learned"
      )


def _rule_complaints(flat: Mapping, name: str, can: Mapping) -> Iterator[str]:
  """Who sees whom."""
  causal, both = can.get("causal", True), can.get("bidirectional", True)
  able = " or ".join(word for word, is_able in (("causal", causal), ("both ways", both)) if is_able)
  kind, ways = flat["model.kind"], flat["model.direction"] != "forward"
  for key in ("model.window", "model.itself", "model.segment"):
    plain = OPTIONS[key].default
    if effect.has_blocks(flat) and flat[key] != plain and not can.get("rules", True):
      value, plain = (str(one).lower() for one in (flat[key], plain))
      yield f"{name} attention cannot look by {key}={value}; it looks {able}: set {key}={plain}"
  if not causal and (kind in ("gpt", "seq2seq") or (kind == "rnn" and not ways)):
    yield f"{name} attention cannot look causal, as model.kind={kind} does; it looks {able}: set another mechanism"
  if not both and (kind in ("bert", "seq2seq") or (kind == "rnn" and ways)):
    yield f"{name} attention cannot look both ways, as model.kind={kind} does; it looks {able}: set another mechanism"


def _constructor_complaints(flat: Mapping) -> Iterator[str]:
  """What the constructors of the chosen kinds refuse; of a user's own model it is not known which it will call."""
  kind = flat["model.kind"]
  heads, _, head_dim, _ = _sizes(flat)
  two_ways = flat["model.direction"] != "forward"
  given: dict[str, dict] = {"task": {}}
  if effect.has_blocks(flat):
    given["model.position"] = {"width": flat["model.width"], "heads": heads, "head_dim": head_dim}
    given["model.feedforward"] = {"width": flat["model.width"]}
  if effect.has_cells(flat):
    hidden = flat["model.width"] // (2 if two_ways else 1)
    given["model.cell"] = {"width": flat["model.width"], "hidden": hidden}
  if ":" not in kind and effect.attends(flat) and not effect.looks_by_dot(flat):
    given["model.attention"] = {"heads": heads, "head_dim": head_dim, "layer": 0}
  hooks = frozenset()
  if effect.has_blocks(flat):
    hooks = slots.told("position", flat["model.position.kind"]).get("hooks")
  for slot, passed in given.items():
    options = {key.rpartition(".")[2]: value for key, value in flat.items() if key.rpartition(".")[0] == slot}
    reason = slots.refusal(slots.SLOTS[slot], options.pop("kind"), passed | options, hooks)
    if reason:
      yield f"{slot}.kind={flat[f'{slot}.kind']}: {reason}" if slot.rpartition(".")[2] not in reason else reason


def _sizes(flat: Mapping) -> tuple[int, int, int, int]:
  """(heads, key heads, features of a head, of its values)."""
  heads = flat["model.heads"]
  head_dim = flat["model.head_dim"] or flat["model.width"] // heads
  return heads, flat["model.kv_heads"] or heads, head_dim, flat["model.value_dim"] or head_dim


def _tie(flat: Mapping) -> str:
  """The tie in force: mechanisms whose keys are their queries bring their own."""
  tied = effect.supports(flat).get("tied") and not effect.looks_by_dot(flat)
  return "qk" if tied and flat["model.tie"] == "none" else flat["model.tie"]


# ---------------------------------------------------------------------------------------------------------------------
# Probes: files of experiments/probes with a function `read`, whose calls tell what they need.


@functools.cache
def probes() -> Mapping[str, frozenset[str]]:
  """The probes on disk, and what each of them calls ("recording.places")."""
  found = {}
  for path in sorted((source.ROOT / "experiments" / "probes").glob("*.py")):
    tree = source.tree_of(path)
    if any(isinstance(node, ast.FunctionDef) and node.name == "read" for node in tree.body):
      calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
      found[path.stem] = frozenset(ast.unparse(node.func) for node in calls)
  return found


def _probe_complaints(flat: Mapping) -> Iterator[str]:
  """Probes that do not exist, or that could not read what is trained."""
  for name in flat["probes"]:
    if name not in probes():
      yield f"probes={name} is no probe: {slots.suggestion(name, probes())}allowed: {', '.join(probes())}"
      continue
    calls, kind, task = probes()[name], flat["model.kind"], flat["task.kind"]
    if effect.has_cells(flat) and calls & {"recording.places", "recording.count"}:
      yield f"probes={name} looks at a stack of attention layers, which model.kind={kind} has not; set no such probe"
    if "recording.record" in calls and not effect.attends(flat):
      yield f"probes={name} looks at attention, which model.reads=none has not; set model.reads, or no such probe"
    if "recording.count" in calls and "o" not in flat["model.projections"]:
      yield f"probes={name} silences heads by their output projection: set model.projections to hold o"
    if "recording.need_recall" in calls and ":" not in task and task != "recall":
      yield f"probes={name} reads task.kind=recall only, not {task}; allowed: no such probe"
    if name == "longer":
      yield from _longer_complaints(flat)


def _longer_complaints(flat: Mapping) -> Iterator[str]:
  """The probe longer reads rows of up to 4 times the task's length."""
  if "task.length" not in flat:
    yield (
      f"probes=longer needs a task with the option length, task.kind={flat['task.kind']} has none; "
      "allowed: no such probe"
    )
    return
  longest, table = 4 * flat["task.length"], flat.get("model.position.length")
  if effect.has_blocks(flat) and table is not None and table < longest:
    yield (
      f"model.position.length={table} ends before the rows of {longest} that probe longer reads; "
      f"allowed: {longest} or more"
    )


def _at(config: Mapping, path: str) -> Mapping:
  node = config
  for name in path.split("."):
    node = node.get(name, {}) if isinstance(node, Mapping) else {}
  return node if isinstance(node, Mapping) else {}
