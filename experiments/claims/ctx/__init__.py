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
    "CTX-1",
    "D1",
    "D1-6; D2b-9",
    "The cost of a layer grows with the square of the input length.",
    "exact",
    "check",
    "coefficients of a n + b n^2 fitted to a layer's counted operations",
    Check(
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
    "CTX-2",
    "D2",
    "D2b-9",
    "Because of its quadratic scores, attention over long inputs takes much memory.",
    "measured",
    "bench",
    "slope of peak temporary memory in length, scores materialized and blockwise",
    Bench(
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
    "CTX-3",
    "D2",
    "D2b-8",
    "A fixed input length keeps the model from using whole long documents.",
    "empirical",
    "trial",
    "recall of a fact beyond the segment, without and with memory carried over, against the whole row",
    Trial(
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
    "CTX-4",
    "D2",
    "D2b-8",
    "Important information beyond the attention window may be missed, which costs accuracy on distant dependencies.",
    "empirical",
    "trial",
    "accuracy on a fact below and above depth times window",
    Trial(
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
    "CTX-5",
    "D2",
    "D2b-9",
    "Longer contexts demand large hardware resources.",
    "measured",
    "bench",
    "time per token against the number of tokens, scores all at once and by blocks of keys",
    Bench(
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
    "CTX-6a",
    "D2",
    "D2b-9",
    "Sparse attention, Reformer and Longformer ease the cost of long inputs.",
    "measured",
    "bench",
    "exponent of time in length: dense less window, blocks and hashing",
    Bench(
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
    "CTX-6b",
    "extension",
    "D2b-9",
    "Sparse attention, Reformer and Longformer keep the quality of dense attention.",
    "empirical",
    "trial",
    "accuracy loss on long recall inside a margin",
    Trial(
      studies.QUALITY,
      All(tuple(_as_good(name) for name in ("window and global", "blocks", "hashing"))),
    ),
    literature=(
      Literature("54.39; 53.46; 50.67; 55.01", "LRA average: dense; Longformer; Reformer; BigBird", "LRA README", True),
    ),
    note="The LRA averages are disputed and serve as context only.",
  ),
  Claim(
    "CTX-7",
    "D2",
    "D2b-9",
    "Merely lengthening the context is no workable way to handle longer contexts.",
    "empirical",
    "trial",
    "loss on prose with contexts of 32 and 256 characters, at equal characters per step and equal steps",
    Trial(
      studies.CONTEXT,
      greater("context 256", "context 32", by=-0.02, name="loss with context 256 less 32"),
    ),
  ),
  Claim(
    "CTX-8",
    "extension",
    "D2b-9",
    "On Reformer's duplication task accuracy grows with the number of hash rounds.",
    "empirical",
    "trial",
    "slope of accuracy over the logarithm of the rounds, from one to four",
    Trial(
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
