"""The claims of the gpu tier, measured by the functions that the protocol calls and judged by its verdicts.

What is written here is no row of the ledger: `assay reproduce --tier=gpu` makes those.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from experiments.bench.gpu import parts
from experiments.bench.gpu.figures import figure
from experiments.protocol import catalog, verdict
from experiments.protocol.claim import Bench, Check, Claim

TIER = "gpu"
PREFIX = {Check: "experiments.claims", Bench: "experiments.bench"}
SMALL = {"width": 32, "heads": 2, "depth": 1, "feedforward": {"kind": "relu", "hidden": 64}}
TINY_LENGTH, TINY_TOKENS = 16, 64


def measure(request: parts.Request) -> Iterator[dict[str, Any]]:
  """One claim after the other; a rehearsal's sizes are tiny, so it judges no claim."""
  if request["tiny"]:
    _made_tiny()
  for claim in claims():
    if type(claim.experiment) not in PREFIX:
      yield {"details": {claim.id: {"verdict": None, "reason": f"a {claim.evidence}: `assay reproduce --tier=gpu`"}}}
      continue
    samples = _samples(claim)
    note = f"{claim.measure}{'; rehearsed at tiny sizes, not at these' if request['tiny'] else ''}"
    figures = [figure(f"{claim.id}: {name}", values, "sample", note) for name, values in samples.items()]
    yield {"figures": figures, "details": {claim.id: _said(claim, samples, rehearsed=request["tiny"])}}


def claims() -> list[Claim]:
  """All claims that can be measured on an accelerator only."""
  return [claim for claim in catalog.all_claims() if TIER in claim.tiers]


def _samples(claim: Claim) -> dict[str, list[float]]:
  from experiments.worker import serve

  experiment: Any = claim.experiment
  return serve.call(experiment.run, PREFIX[type(experiment)])


def _said(claim: Claim, samples: Mapping[str, list[float]], *, rehearsed: bool) -> dict[str, Any]:
  """The claim with its samples and its verdict."""
  known, judged = {"statement": claim.statement, "measure": claim.measure, "samples": samples}, judge(claim, samples)
  if rehearsed:
    reason = "a rehearsal at tiny sizes judges no claim"
    return known | {"verdict": None, "reason": reason, "rehearsed": judged["verdict"]}
  return known | judged


def judge(claim: Claim, samples: Mapping[str, list[float]]) -> dict[str, Any]:
  """What the protocol says: verdict, reason and tests at the level of the claim's group."""
  group = [other for other in catalog.all_claims() if other.group == claim.group]
  return verdict.verdict(claim, samples, verdict.level(group))


def _made_tiny() -> None:
  """Makes the training steps of experiments/bench/models.py small, so that a rehearsal runs the same functions."""
  from experiments.bench import models

  step = models.step

  def small(settings, length: int, tokens: int = 0):
    del length, tokens
    return step({**settings, **SMALL}, TINY_LENGTH, TINY_TOKENS)

  models.step = small
