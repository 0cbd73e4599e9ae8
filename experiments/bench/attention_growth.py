"""Growth of attention's time and memory with length, per mechanism, beside the naive path: v ~ n^exponent.

One measurement is one compiled call, forward and backward: the sum of out * target and its gradients by q, k and v.
Naive is softmax(q k^T / sqrt(D)) v as it is written, T by S numbers at a time, differentiated by jax. Memory is what
the compiler reserves beside inputs and results. Every process measures all lengths, and all mechanisms in turn.
"""

import itertools
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from experiments.bench import growth, timing
from experiments.run.progress import Progress
from model.errors import Refused

NAIVE, DENSE = "naive", "dot"  # what times are compared with, and what compiling is compared with
BLOCK = 256  # keys at a time in "dot blockwise"
LIMIT = 8.0  # GiB
RULES = ("causal", "everything")
COMPILING = 50  # what compiling counts in the progress shown, in naive calls at length 512


class Subject(NamedTuple):
  """What is measured: a kind of attention with options (none = naive), keys all at once or by blocks."""

  name: str
  options: Mapping[str, Any] = {}
  block: int | None = None


class Size(NamedTuple):
  """What stays fixed while the length grows."""

  batch: int
  heads: int
  head_dim: int
  rule: str


class Plan(NamedTuple):
  """Everything asked for."""

  subjects: list[Subject]
  lengths: list[int]
  size: Size
  processes: int
  repeats: int
  limit_bytes: float


def measure(
  progress: Progress,
  *,
  mechanisms: str = "",
  lengths: str = "512,1024,2048,4096,8192",
  processes: int = 3,
  repeats: int = 3,
  limit: float = 0.0,
  batch: int = 1,
  heads: int = 4,
  head_dim: int = 64,
  rule: str = "causal",
) -> Iterator[dict[str, Any]]:
  """What is known so far, each time another length is measured; what is wrong is Refused at once, before jax starts.

  mechanisms: "dot,banded:window=256", all on disk when empty. limit: GiB of temporary memory above which a mechanism is
  skipped; 0 = 8 GiB, or half of the machine's memory where that is less.
  """
  if rule not in RULES:
    raise Refused(f"--rule={rule} is unknown; allowed: {', '.join(RULES)}")
  size = Size(batch, heads, head_dim, rule)
  bytes_allowed = limit * 2**30 or min(LIMIT * 2**30, timing.machine_memory() / 2)
  plan = Plan(_subjects(mechanisms), growth.lengths(lengths), size, processes, repeats, bytes_allowed)
  return _measure(plan, progress)


def _measure(plan: Plan, progress: Progress) -> Iterator[dict[str, Any]]:
  progress.plan(plan.processes * sum(_units(length, plan) for length in plan.lengths))
  found: growth.Found = {length: [] for length in plan.lengths}
  device: dict[str, Any] = {}
  for number in range(plan.processes):
    for event in timing.fresh(f"{__name__}.one", plan._asdict() | {"process": number}, timing.KEEP):
      if event["event"] == "hello":
        device = device or event["device"]
      elif event["event"] == "did":
        progress.note(f"process {number + 1} of {plan.processes}, length {event['length']}")
        progress.advance(event["units"])
      else:
        found[event["length"]].append(event["cells"])
        yield _document(plan, device, found)


def _document(plan: Plan, device: Mapping[str, Any], found: growth.Found) -> dict[str, Any]:
  what = {name: {"options": dict(options), "block": block} for name, options, block in plan.subjects}
  rows = [given | growth.row(name, found, NAIVE, DENSE) for name, given in what.items()]
  fixed = plan.size._asdict()
  asked = {name: value for name, value in plan._asdict().items() if name not in ("subjects", "size")}
  sizes = ", ".join(f"{name} {value}" for name, value in fixed.items())
  note = f"forward and backward, {sizes}, processes {plan.processes}; {device['clock']}; 2x = twice naive"
  return {"device": device, "settings": asked | fixed, "rows": rows, "notes": [note, *growth.notes(rows)]}


def table(document: Mapping[str, Any]):
  """The rows as a rich table."""
  return growth.table(document["rows"], DENSE)


def _units(length: int, plan: Plan) -> int:
  return len(plan.subjects) * (COMPILING + (1 + plan.repeats) * _call(length))


def _call(length: int) -> int:
  return max(10, length * length // 512**2)


def _subjects(mechanisms: str) -> list[Subject]:
  """Naive, dot, dot by blocks, then what was asked for, or every kind on disk."""
  from configs import slots

  texts = re.split(r",(?![^(]*\))", mechanisms) if mechanisms else slots.kinds("attention")
  dense = {"kind": "dot"}
  fixed = [Subject(NAIVE), Subject(DENSE, dense), Subject(f"{DENSE} blockwise", dense, BLOCK)]
  named = {subject.name: subject for subject in [*fixed, *map(_subject, texts)]}
  return list(named.values())


def _subject(text: str) -> Subject:
  """One of "banded:window=256:dilation=2" or "mine.py:Mine:width=3"; its options are checked in the source's text."""
  from configs import slots
  from configs.values import parse

  parts = text.strip().split(":")
  kind = ":".join(itertools.takewhile(lambda part: "=" not in part, parts))
  known, given = slots.options("attention", kind), parts[kind.count(":") + 1 :]
  options: dict[str, Any] = {"kind": kind}
  for part in given:
    name, _, value = part.partition("=")
    if name not in known:
      raise Refused(f"--mechanisms={text}: {kind} has no option {name!r}; allowed: {', '.join(known) or 'none'}")
    try:
      options[name] = parse(value, known[name]["type"])
    except ValueError as error:
      raise Refused(f"--mechanisms={text}: {name}={value!r} has the wrong type or size; {error}") from None
  return Subject(" ".join([kind, *given]), options)


# ---------------------------------------------------------------------------------------------------------------------
# In a process of its own.


def one(request: Mapping[str, Any]) -> Iterator[timing.Event]:
  """Compiles and times every subject at every length, and tells what it does; `measured` holds a length's cells."""
  yield {"event": "hello", "device": timing.machine()}
  size, limit = Size(*request["size"]), request["limit_bytes"]
  subjects = [Subject(*subject) for subject in request["subjects"]]
  first = request["process"] * len(subjects) // request["processes"]  # who comes first pays for what all share
  _compiled(Subject(NAIVE), 8, size, math.inf)  # the compiler's own start
  for length in request["lengths"]:
    cells: dict[str, growth.Cell] = {}
    turns: dict[str, timing.Turn] = {}
    for subject in subjects[first:] + subjects[:first]:
      cells[subject.name], turn = _compiled(subject, length, size, limit)
      if turn is not None:
        turns[subject.name] = turn
      yield {"event": "did", "length": length, "units": COMPILING + _call(length)}
    for times in timing.rounds(turns, request["repeats"]):
      for name, seconds in times.items():
        cells[name]["seconds"].append(seconds)
      yield {"event": "did", "length": length, "units": len(subjects) * _call(length)}
    yield {"event": "measured", "length": length, "cells": cells}


def _compiled(subject: Subject, length: int, size: Size, limit: float) -> tuple[growth.Cell, timing.Turn | None]:
  """The cell of a subject before it is timed, and its turn, which has run once; none where it cannot or must not."""
  import jax

  try:
    function, inputs = _naive(length, size) if subject.name == NAIVE else attention(subject, length, size)
    program, compile_seconds = timing.timed(lambda: jax.jit(function).lower(*inputs).compile())
    memory = program.memory_analysis()
    assert memory is not None
    cell = {"status": "done", "reason": "", "seconds": [], "compile_seconds": compile_seconds}
    cell |= {"memory_bytes": memory.temp_size_in_bytes, "output_bytes": memory.output_size_in_bytes}
    if memory.temp_size_in_bytes > limit:
      wanted, allowed = memory.temp_size_in_bytes / 2**30, limit / 2**30
      reason = f"needs {wanted:.3g} GiB beside its inputs, more than the limit of {allowed:.3g} GiB (--limit=)"
      return cell | {"status": "skipped", "reason": reason}, None
    return cell, timing.Turn(lambda: jax.block_until_ready(program(*inputs)))
  except Refused as refusal:
    return {"status": "refused", "reason": " ".join(str(refusal).split())}, None
  except Exception as error:  # one broken mechanism must not cost the figures of the others
    return {"status": "failed", "reason": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}, None


def _naive(length: int, size: Size):
  """The textbook's path."""
  import jax
  import jax.numpy as jnp

  def attend(q_BTHD, k_BSHD, v_BSHD):
    score_BHTS = jnp.einsum("bthd,bshd->bhts", q_BTHD, k_BSHD) / math.sqrt(size.head_dim)
    if size.rule == "causal":
      order_T = jnp.arange(length)
      score_BHTS = jnp.where(order_T[:, None] >= order_T, score_BHTS, -jnp.inf)
    return jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(score_BHTS), v_BSHD)

  def energy(vectors, target_BTHD):
    return (attend(*vectors) * target_BTHD).sum()

  q_BTHD, k_BSHD, v_BSHD, target_BTHD = _normal(length, size, 4)
  return jax.value_and_grad(energy), ((q_BTHD, k_BSHD, v_BSHD), target_BTHD)


def attention(subject: Subject, length: int, size: Size):
  """A mechanism with drawn parameters; with several views it gets as many sets of q, k, v, tied it gets no keys."""
  import jax
  from flax import nnx

  from model import build, initial, mask

  given: dict[str, Any] = {"heads": size.heads, "head_dim": size.head_dim, "layer": 0}
  mechanism: Any = initial.realize(lambda: build.make("attention", subject.options, **given))
  graph, state = nnx.split(mechanism)
  views, tied = mechanism.views, mechanism.supports.tied
  sight = mask.Mask(mask.rows(length), mask.rows(length), getattr(mask, size.rule)())

  def energy(vectors, state, target_BTKGD):
    q, *keys, v = vectors  # a tuple of arrays each, one per view
    k = keys[0] if keys else tuple(one[:, :, :, 0] for one in q)
    given = (q, k, v) if views > 1 else (q[0], k[0], v[0])
    out_BTKGD, _ = nnx.merge(graph, state)(*given, sight, None, block=subject.block)
    return (out_BTKGD * target_BTKGD).sum()

  *arrays, target = _normal(length, size, 3 * views + 1)
  queries, keys, values = (tuple(arrays[start::3]) for start in range(3))
  queries = tuple(q[:, :, :, None] for q in queries)
  vectors = (queries, values) if tied else (queries, keys, values)
  return jax.value_and_grad(energy), (vectors, state, target[:, :, :, None])


def _normal(length: int, size: Size, count: int):
  """Arrays on the device; drawn by numpy, which compiles nothing."""
  import jax
  import numpy as np

  shape, random = (size.batch, length, size.heads, size.head_dim), np.random.default_rng(0)
  return [jax.device_put(random.standard_normal(shape, np.float32)) for _ in range(count)]
