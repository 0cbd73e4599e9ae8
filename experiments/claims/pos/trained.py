"""The rows of group POS that need trained models."""

import math
from collections.abc import Mapping

from experiments.claims.pos import studies
from experiments.claims.pos.studies import ABSOLUTE, RELATIVE, SHAW, TABLE
from experiments.protocol.claim import (
  All,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Probe,
  Test,
  Trial,
  greater,
)
from train.chance import guess_from_a_bag

ACCURACY, LITTLE = 0.1, 0.05  # what a reader of a table would call a difference; what "kept" may cost at most
NATS = 0.05
SHARE = 0.95  # of the absolute schemes' excess: a twentieth less is the least that counts
FLOORS = {"motif": 0.0, "season": -sum(p * math.log(p) for p in (1 - studies.NOISE, *2 * (studies.NOISE / 2,)))}
LAW = "law of the sequence"
FREE, TIED = "the same at all times", "tied to the clock"

Weights = dict[str, float]


def _mean(weight: float, task: str, schemes: tuple[str, ...], measure: str = "") -> Weights:
  """`weight` times the mean over schemes on a task."""
  return {f"{task}, {scheme}{measure}": weight / len(schemes) for scheme in schemes}


def _advantage(task: str, relative=RELATIVE, absolute=ABSOLUTE) -> Weights:
  """SHARE of the absolute schemes' loss less that of the relative ones."""
  return _mean(SHARE, task, absolute) | _mean(-1.0, task, relative)


def _clock(task: str) -> str:
  return f"{task} by the clock"


def _opposite(weights: Mapping[str, float]) -> Weights:
  return {name: -weight for name, weight in weights.items()}


def _less_excess(task: str) -> Moderated:
  """Relative excess below SHARE of the absolute one: SHARE (L_a - H) > L_r - H, so SHARE L_a - L_r > (SHARE - 1) H."""
  least = (SHARE - 1) * FLOORS[task]
  tied = _advantage(_clock(task), SHAW, TABLE)
  cells: dict[str, Test] = {
    FREE: Contrast("excess of absolute less relative schemes", _advantage(task), least),
    TIED: Contrast("excess of the learned table less Shaw", tied, least),
  }
  both = _advantage(task, SHAW, TABLE) | _opposite(tied)
  return Moderated(LAW, cells, Contrast("the table less Shaw, free less tied", both, NATS))


def _gain(relative: tuple[str, ...], absolute: tuple[str, ...], tasks: tuple[str, ...]) -> Weights:
  """Accuracy at the training length, relative less absolute, mean over two tasks."""
  found: Weights = {}
  for task in tasks:
    found |= _mean(0.5, task, relative, ":accuracy") | _mean(-0.5, task, absolute, ":accuracy")
  return found


def _decisive() -> Moderated:
  tasks, clocks = tuple(FLOORS), tuple(_clock(task) for task in FLOORS)
  tied = _gain(SHAW, TABLE, clocks)
  cells: dict[str, Test] = {
    FREE: Contrast("relative less absolute schemes", _gain(RELATIVE, ABSOLUTE, tasks), ACCURACY),
    TIED: Contrast("Shaw less the learned table", tied, ACCURACY),
  }
  both = _gain(SHAW, TABLE, tasks) | _opposite(tied)
  return Moderated(LAW, cells, Contrast("Shaw less the table, free less tied", both, ACCURACY))


def _lost(schemes: tuple[str, ...], times: int) -> Contrast:
  """Accuracy at the training length less that on longer seasons."""
  longer = f":probe.longer.accuracy_{times}x"
  weights = _mean(1.0, "season", schemes, ":accuracy") | _mean(-1.0, "season", schemes, longer)
  return Contrast(f"{' and '.join(schemes)}: accuracy lost at {times}n", weights, LITTLE)


def _kept(schemes: tuple[str, ...]) -> All:
  """Within LITTLE at both lengths, which the learned table does not manage."""
  return All(tuple(Equivalent(_lost(schemes, times), LITTLE, _lost(("learned",), times)) for times in (2, 4)))


_SHARED, _OWN = ("t5", "shaw"), ("rope",)
_FAR = Moderated(
  "distances beyond those trained",
  {"count as the farthest trained (T5, Shaw)": _kept(_SHARED), "have angles of their own (RoPE)": _kept(_OWN)},
  Contrast(
    "lost at 4n by RoPE less by T5 and Shaw",
    {**_lost(_OWN, 4).weights, **_opposite(_lost(_SHARED, 4).weights)},
    LITTLE,
  ),
)


def _grows(task: str) -> Contrast:
  """Loss of absolute less relative schemes, at 2n less at n; the least possible loss cancels."""
  longer = ":probe.longer.loss_2x"
  weights = _mean(1.0, task, ABSOLUTE, longer) | _mean(-1.0, task, RELATIVE, longer)
  weights |= _mean(-1.0, task, ABSOLUTE) | _mean(1.0, task, RELATIVE)
  return Contrast(f"{task}: absolute less relative, 2n less n", weights, NATS)


def _less_loss(better: str, worse: str) -> Contrast:
  name = f"{worse} less {better}"
  return greater(f"{worse}:probe.longer.loss_4x", f"{better}:probe.longer.loss_4x", NATS, name)


_BAG = guess_from_a_bag(studies.LENGTH, studies.SYMBOLS)
_UNTRAINED_ROWS = "a learned table's rows beyond n are as first drawn"

TRAINED = (
  Claim(
    id="POS-2",
    document="D1",
    place="D1-9; D2a-2; D2b-7",
    statement="Positional encoding is what lets the model learn token order.",
    measure="accuracy on two order tasks, and mean accuracy over training on an order-free one, with and without an "
    "encoding",
    experiment=Trial(
      studies.ORDER,
      All(
        (
          greater("previous, sinusoidal:accuracy", "previous, none:accuracy", 0.3),
          greater("previous, learned:accuracy", "previous, none:accuracy", 0.3),
          Contrast("roles, sinusoidal, over one half", {"roles, sinusoidal:accuracy": 1.0}, 0.5 + 0.3),
          greater("recall, none", "recall, sinusoidal", -0.02),
        )
      ),
    ),
    contradicts=("POS-3",),
    note="Encoders only; decoders are POS-7. Order: name the token before (.3 more accurate than without an encoding),"
    " and who acts in noun-verb-noun (.3 above one half, which POS-6 proves without). On recall, which has no order,"
    " going without must be no worse than .02 of mean accuracy over training.",
  ),
  Claim(
    id="POS-5a",
    document="D2",
    place="D2b-7",
    statement="Making positions relative rather than absolute is decisive for a Transformer's performance on "
    "sequences.",
    measure="accuracy at the training length, relative against absolute schemes, mean over motifs and seasonal series",
    experiment=Trial(studies.LAWS, _decisive()),
    literature=(
      Literature(
        "26.8 against 26.5; 29.2 against 27.9",
        "BLEU En-De base; big",
        "Shaw et al. 2018, Table 1, seen in public notes on GitHub",
        checked=True,
      ),
      Literature("+1.3; +0.3", "BLEU En-De; En-Fr", "Shaw et al. 2018, abstract", checked=True),
    ),
    note="Decisive: a tenth of accuracy at the last step. T5, Shaw and RoPE against sinusoids and a learned table where"
    " the law is the same at all times, Shaw against the table where answers follow the clock. That order must be"
    " known at all is POS-2.",
  ),
  Claim(
    id="POS-5b",
    document="extension",
    place="D2b-7",
    statement="Relative schemes keep their accuracy on sequences two and four times as long as those in training.",
    measure="accuracy on seasonal series of 2n and 4n after training at n = 12, less that at n",
    experiment=Probe(studies.LAWS, _FAR),
    literature=(
      Literature(
        "11 % faster, 11 % less memory at equal perplexity", "1.3B model, 1024 to 2048", "Press et al. 2022", True
      ),
      Literature("rotary and T5 degrade", "perplexity beyond L", "Press et al. 2022, Figure 1", True),
    ),
    note="Length extrapolation is our reading; the documents do not mention it. Kept: within a twentieth of accuracy."
    " T5 and Shaw share one number among all distances from 8 up. The known difference is a learned table;"
    f" {_UNTRAINED_ROWS}.",
  ),
  Claim(
    id="POS-5c",
    document="extension",
    place="D2b-7",
    statement="On sequences four times as long as in training, decoders do better in the order sinusoidal, rotary, T5, "
    "ALiBi.",
    measure="cross-entropy at 4n after training at n = 12 on the token before, each scheme less the next",
    experiment=Probe(
      studies.CAUSAL, All((_less_loss("rope", "sinusoidal"), _less_loss("t5", "rope"), _less_loss("alibi", "t5")))
    ),
    literature=(
      Literature(
        "sinusoidal, rotary and T5 degrade, ALiBi does not",
        "perplexity beyond L",
        "Press et al. 2022, Figure 1",
        True,
      ),
      Literature(
        "sinusoidal, rotary, T5, ALiBi",
        "from least to most extrapolation",
        "Press et al. 2022, 2, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="Minimum: .05 nat per step of the order. A near token is asked for, which suits a penalty on distance. ALiBi"
    " has four heads; T5's last bucket begins at 8, so that training meets it.",
  ),
  Claim(
    id="POS-7",
    document="extension",
    place="D1-9; D2a-2",
    statement="A causal decoder without any positional encoding still learns token order.",
    measure="accuracy on the previous-token task against the best predictor that knows its prefix as a bag",
    experiment=Trial(studies.CAUSAL, Contrast("accuracy without an encoding", {"none:accuracy": 1.0}, _BAG + ACCURACY)),
    literature=(
      Literature(
        "decoders without encodings stay close to those with",
        "perplexity",
        "Haviv et al. 2022, abstract seen in copies of its text on GitHub",
        checked=True,
      ),
      Literature(
        "no encoding does best beyond L",
        "accuracy, decoders",
        "Kazemnejad et al. 2023, abstract seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
    note="The documents say why encodings are used, not that decoders fail without them. The bag's accuracy is exact,"
    f" {_BAG:.3f}; a tenth more is the minimum. Two layers.",
  ),
  Claim(
    id="POS-9a",
    document="D2",
    place="D2b-7",
    statement="Relative positions are an advantage when generating music.",
    measure="excess loss over the known optimum on motifs that return transposed after a random gap, relative against "
    "absolute",
    experiment=Trial(studies.LAWS, _less_excess("motif")),
    literature=(Literature("relative attention preferred", "listening test, NLL", "Huang et al. 2018"),),
    note="At the training length, equal steps. Advantage: a twentieth less excess (T5, Shaw, RoPE against sinusoids and"
    " a learned table). Control: the same rows, answers fixed by position, Shaw against the table. Symbols, no sound.",
  ),
  Claim(
    id="POS-9b",
    document="D2",
    place="D2b-7",
    statement="Relative positions are an advantage when forecasting time series.",
    measure="excess cross-entropy (nats) over the known optimum on seasonal series of random phase, relative against "
    "absolute",
    experiment=Trial(studies.LAWS, _less_excess("season")),
    note="Levels are discrete, so that the least loss is the entropy of a move, known exactly; squared error has no"
    " meaning on their circle. Advantage: a twentieth less excess (schemes as in POS-9a). Control: answers tied to"
    " absolute time, Shaw against the table: the cells differ in their schemes, too.",
  ),
  Claim(
    id="POS-9c",
    document="extension",
    place="D2b-7",
    statement="The advantage of relative positions on motifs and seasonal series grows when test sequences are twice "
    "as long.",
    measure="loss of absolute less relative schemes, at 2n less at n, after training at n = 12",
    experiment=Probe(studies.LAWS, All((_grows("motif"), _grows("season")))),
    note="The least possible loss is the same at both lengths and cancels. Minimum: .05 nat on each task;"
    f" {_UNTRAINED_ROWS}.",
  ),
)
