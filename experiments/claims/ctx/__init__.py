"""Context: its cost, its limits, and attention that looks at less."""

from experiments.claims.ctx import studies
from experiments.protocol.claim import (
  All,
  Bench,
  Bound,
  Check,
  Claim,
  Contrast,
  Equivalent,
  Literature,
  Moderated,
  Trial,
  greater,
  interaction,
  slope,
)

MARGIN = 0.05  # of accuracy


def _as_good(name: str) -> Equivalent:
  """As accurate as dense attention, which a window too narrow is not."""
  return Equivalent(
    greater("dense", name, 0.0, name=f"dense less {name}"), MARGIN, greater("dense", "narrow window", 0.0)
  )


CLAIMS = (
  Claim(
    id="CTX-1",
    document="D1",
    place="D1-6; D2b-9",
    statement="The cost of a layer grows with the square of the input length.",
    measure="coefficients of a n + b n^2 fitted to a layer's counted operations",
    experiment=Check(
      "ctx.checks.operations",
      All(
        (
          Bound("quadratic coefficient over 4M", low=0.9, high=1.5),
          Bound("linear coefficient", low=1.0),
          Bound("residual", high=1e-3),
        )
      ),
    ),
    note="Operations are a n + b n^2 exactly, b > 0: quadratic in the long run, but at 1024 tokens and width 256 the"
    " linear part is still more than half. Time slopes: `assay bench attention_growth`.",
    contradicts=("RNN-5",),
  ),
  Claim(
    id="CTX-2",
    document="D2",
    place="D2b-9",
    statement="Because of its quadratic scores, attention over long inputs takes much memory.",
    measure="slope of peak temporary memory in length, scores materialized and blockwise",
    experiment=Bench(
      "span.memory",
      Moderated(
        "how scores are kept",
        {
          "all at once": Bound("dense: exponent of memory", low=1.8),
          "by blocks": Bound("blockwise: exponent of memory", low=1.8),
        },
      ),
    ),
    note="Temporary memory of attention forward and backward by the compiler's count, from 1024 to 8192 tokens.",
    literature=(
      Literature(
        "memory linear in length",
        "",
        "Rabe and Staats 2021, seen in public notes on GitHub; Dao et al. 2022, README of flash-attention",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="CTX-3",
    document="D2",
    place="D2b-8",
    statement="A fixed input length keeps the model from using whole long documents.",
    measure="recall of a fact beyond the segment, without and with memory carried over, against the whole row",
    experiment=Trial(
      studies.SEGMENTS,
      Moderated(
        "memory carried over",
        {
          "none": greater("whole row", "cut", by=0.3, name="whole row over cut"),
          "a stretch": greater("whole row", "cut, memory", by=0.3, name="whole row over cut with memory"),
        },
        greater("cut, memory", "cut", by=0.3, name="cut with memory over cut"),
      ),
    ),
    note="The fact stands 30 tokens before the question, stretches are 20 tokens long; rotary positions, one layer.",
    contradicts=("RNN-7a",),
  ),
  Claim(
    id="CTX-4",
    document="D2",
    place="D2b-8",
    statement="Important information beyond the attention window may be missed, which costs accuracy on distant "
    "dependencies.",
    measure="accuracy on a fact below and above depth times window",
    experiment=Trial(
      studies.WINDOWS,
      Moderated(
        "distance",
        {
          "beyond depth times window": greater(
            "no window, beyond", "window, beyond", by=0.3, name="without less with window, 24 tokens"
          ),
          "beyond one window, within depth times window": greater(
            "no window, two windows", "window, two windows", by=0.3, name="without less with window, 12 tokens"
          ),
        },
        interaction(
          ("no window, beyond", "window, beyond"),
          ("no window, two windows", "window, two windows"),
          by=0.3,
          name="24 less 12 tokens",
        ),
      ),
    ),
    note="Stacked layers reach depth times window, not one window.",
  ),
  Claim(
    id="CTX-5",
    document="D2",
    place="D2b-9",
    statement="Longer contexts demand large hardware resources.",
    measure="time per token against the number of tokens, scores all at once and by blocks of keys",
    experiment=Bench(
      "span.time",
      All(
        (
          Contrast("log2 time per token, 2048 over 512, dense", {"dense: time per token": 1.0}, 1.0),
          Contrast("log2 time per token, 2048 over 512, blockwise", {"blockwise: time per token": 1.0}, 1.0),
        )
      ),
    ),
    note="Attention alone, forward and backward. Blocks of keys spare memory, not operations; tokens that fit in 1 GiB"
    " are told by CTX-2.",
  ),
  Claim(
    id="CTX-6a",
    document="D2",
    place="D2b-9",
    statement="Sparse attention, Reformer and Longformer ease the cost of long inputs.",
    measure="exponent of time in length: dense less window, blocks and hashing",
    experiment=Bench(
      "span.time",
      All(
        tuple(
          Contrast(f"exponent of time, dense less {name}", {"dense": 1.0, name: -1.0}, 0.3)
          for name in ("window", "blocks", "hashing")
        )
      ),
    ),
    note="From 512 to 2048 tokens, forward and backward: Longformer's window, BigBird's blocks, Reformer's hashing.",
  ),
  Claim(
    id="CTX-6b",
    document="extension",
    place="D2b-9",
    statement="Sparse attention, Reformer and Longformer keep the quality of dense attention.",
    measure="accuracy loss on long recall inside a margin",
    experiment=Trial(
      studies.QUALITY,
      All(tuple(_as_good(name) for name in ("window and global", "blocks", "hashing"))),
    ),
    literature=(
      Literature("54.39; 53.46; 50.67; 55.01", "LRA average: dense; Longformer; Reformer; BigBird", "LRA README", True),
    ),
    note="The LRA averages are disputed and serve as context only.",
  ),
  Claim(
    id="CTX-7",
    document="D2",
    place="D2b-9",
    statement="Merely lengthening the context is no workable way to handle longer contexts.",
    measure="loss on prose with contexts of 32 and 256 characters, at equal characters per step and equal steps",
    experiment=Trial(
      studies.CONTEXT,
      greater("context 256", "context 32", by=-0.02, name="loss with context 256 less 32"),
    ),
  ),
  Claim(
    id="CTX-8",
    document="extension",
    place="D2b-9",
    statement="On Reformer's duplication task accuracy grows with the number of hash rounds.",
    measure="slope of accuracy over the logarithm of the rounds, from one to four",
    experiment=Trial(
      studies.DUPLICATION,
      slope(
        tuple(f"{n} rounds" for n in studies.ROUNDS),
        (0.0, 1.0, 2.0),
        by=0.02,
        name="accuracy per doubling of rounds",
      ),
    ),
    literature=(
      Literature(
        "99.9 %; 98.1 %; 77.9 %",
        "accuracy, 4; 2; 1 rounds in training and use",
        "Kitaev et al. 2020, Table 2, seen in public notes on GitHub",
        checked=True,
      ),
    ),
    note="Rows of 31 tokens in chunks of 4, one layer; the paper's rows have 1024 tokens. All keys at once beside it.",
  ),
)
