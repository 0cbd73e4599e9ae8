"""Recurrent networks against Transformers: speed, range, capacity."""

from collections.abc import Mapping

from experiments.claims.rnn import studies
from experiments.protocol.claim import (
  All,
  Bench,
  Bound,
  Check,
  Claim,
  Contrast,
  Literature,
  Moderated,
  Trial,
  greater,
  interaction,
)


def _gap(recurrent: str) -> All:
  """Attention is ahead at the long lag, and more so than at the short one."""
  far, near = (("attention, lag 64", f"{recurrent}, lag 64"), ("attention, lag 16", f"{recurrent}, lag 16"))
  return All((greater(*far, by=0.1), interaction(far, near, by=0.1, name=f"{recurrent}: lag 64 less lag 16")))


def _main(*having: str) -> Mapping[str, float]:
  """Main effect: half the sum of the two cells that have it, less half the sum of the two that have not."""
  cells = ("attention, lag 64", "LSTM, lag 64", "LSTM with attention, lag 64", "neither, lag 64")
  return {cell: 0.5 if cell in having else -0.5 for cell in cells}


CLAIMS = (
  Claim(
    id="RNN-1",
    document="D1",
    place="D1-22; D2b-4; D2b-5",
    statement="Transformers are faster than recurrent networks since they treat all positions at once instead of one "
    "by one.",
    measure="time of a training step against length at equal parameters, per device",
    experiment=Bench(
      "models.training",
      Moderated(
        "length of the row",
        {
          "128 tokens": Contrast("log2 time of LSTM over Transformer, 128 tokens", {"width 64, 128 tokens": 1.0}, 0.1),
          "2048 tokens": Contrast(
            "log2 time of LSTM over Transformer, 2048 tokens", {"width 64, 2048 tokens": 1.0}, 0.1
          ),
        },
        Contrast("128 less 2048 tokens", {"width 64, 128 tokens": 1.0, "width 64, 2048 tokens": -1.0}, 0.1),
      ),
    ),
    note="One layer of width 64 with equal parameters (LSTM, and attention with feed-forward network), 2048 tokens per"
    " step at each length, forward and backward. On a CPU core parallel work takes turns: the statement is about"
    " hardware that has the lanes.",
  ),
  Claim(
    id="RNN-2a",
    document="D1",
    place="D1-7",
    statement="Self-attention trains fast because it treats all inputs in parallel.",
    measure="the same attention with all queries at once and scanned query by query, at equal FLOPs, per device",
    experiment=Bench(
      "models.parallel",
      Contrast("log2 time of one query after the other over all at once", {"one by one over all at once": 1.0}, 1.0),
    ),
    note="The same sums in another order: 512 queries against 512 keys, one head of width 64, forward and backward.",
  ),
  Claim(
    id="RNN-2b",
    document="extension",
    place="D1-7",
    statement="In generation a Transformer's cost per token grows with the length so far, a recurrent network's does "
    "not.",
    measure="decoding time per token against position, with a key-value cache",
    experiment=Bench(
      "models.decoding",
      All(
        (
          Contrast("log2 time per token, Transformer, 2048 over 128 tokens so far", {"Transformer": 1.0}, 0.5),
          Contrast("the same, less that of the LSTM", {"Transformer": 1.0, "LSTM": -1.0}, 0.5),
        )
      ),
    ),
    note="One token more, with a cache of 128 or 2048 keys or an LSTM's state; four layers of width 64, batch 8.",
  ),
  Claim(
    id="RNN-3",
    document="D2",
    place="D2b-4",
    statement="Recurrent networks lose long-range gradients, attention keeps them.",
    nature="empirical",
    measure="slope of the log gradient norm at the first input against lag, one reading per cell",
    experiment=Check(
      "rnn.checks.reach",
      Moderated(
        "initialization of the recurrent network",
        {
          "usual": All(
            tuple(
              Contrast(f"slope of attention less {cell}", {"attention": 1.0, cell: -1.0}, 0.01)
              for cell in ("tanh", "LSTM, forget bias 1", "GRU")
            )
          ),
          "chrono": Contrast("slope of attention less chrono LSTM", {"attention": 1.0, "LSTM, chrono": -1.0}, 0.01),
        },
        Contrast("slope of chrono less usual LSTM", {"LSTM, chrono": 1.0, "LSTM, forget bias 1": -1.0}, 0.01),
      ),
      tiers=("small",),
    ),
    literature=(Literature("exponential decay in the lag", "", "Bengio et al. 1994; Pascanu et al. 2013"),),
    note="The strongest cell speaks for recurrent networks: tanh, LSTM with forget bias 0, 1 and chrono, GRU.",
  ),
  Claim(
    id="RNN-4",
    document="D2",
    place="D2b-4; D2b-5; D3-fact-5; D3-answer-2",
    statement="Over long sequences Transformers keep dependencies that recurrent networks lose.",
    measure="accuracy at lags of 16 and 64 tokens, at matched core parameters and equal steps",
    experiment=Trial(
      studies.LAG,
      Moderated(
        "initialization of the recurrent network",
        {
          "usual": _gap("LSTM"),
          "chrono": _gap("LSTM chrono"),
        },
        greater("LSTM chrono, lag 64", "LSTM, lag 64", by=0.1, name="chrono over usual, lag 64"),
      ),
    ),
    literature=(
      Literature(
        "about 200",
        "tokens of context used by an LSTM",
        "Khandelwal et al. 2018, abstract seen at aclweb.org/anthology/P18-1027",
        checked=True,
      ),
      Literature("82 % of the perplexity gap is associative recall", "", "Arora et al. 2023 (Zoology), abstract", True),
    ),
  ),
  Claim(
    id="RNN-5",
    document="D2",
    place="D2b-5",
    statement="On long sequences Transformers need less computation than recurrent networks.",
    measure="time of a training step of whole layers of equal parameters on 2048 tokens, by width, per device",
    experiment=Bench(
      "models.training",
      Moderated(
        "width of the model",
        {
          name: Contrast(f"log2 time of LSTM over Transformer, {name}, 2048 tokens", {f"{name}, 2048 tokens": 1.0}, 0.1)
          for name in ("width 64", "width 256")
        },
        Contrast("width 256 less 64", {"width 256, 2048 tokens": 1.0, "width 64, 2048 tokens": -1.0}, 0.1),
      ),
    ),
    contradicts=("CTX-1",),
    literature=(
      Literature(
        "n < d",
        "where self-attention is the faster layer",
        "Vaswani et al. 2017, 4, seen in copies of its text on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="RNN-6a",
    document="D2",
    place="D2b-5",
    statement="Parallel processing lets Transformers make more of large data sets.",
    measure="time of a training step of four layers of width 512 on 32768 tokens, on an accelerator",
    experiment=Bench(
      "models.throughput",
      Contrast("log2 time of LSTM over Transformer", {"four layers of width 512": 1.0}, 1.0),
      tiers=("gpu",),
    ),
    note="Twice as many tokens in the same time. What more data is worth is RNN-6b.",
  ),
  Claim(
    id="RNN-6b",
    document="extension",
    place="D2b-5",
    statement="A Transformer's loss falls faster with the size of the data than a recurrent network's.",
    nature="paper_scale",
    measure="gain in held-out loss from 64 to 1024 training sequences of a Markov chain, as a surrogate",
    experiment=Trial(
      studies.DATA,
      interaction(
        ("attention, 64 sequences", "attention, 1024 sequences"),
        ("LSTM, 64 sequences", "LSTM, 1024 sequences"),
        by=0.02,
        name="gain in nats from 64 to 1024 sequences, attention less LSTM",
      ),
    ),
    literature=(
      Literature("loss against parameters and token index, not data size", "", "Kaplan et al. 2020, Fig. 7", True),
    ),
  ),
  Claim(
    id="RNN-7a",
    document="D2",
    place="D2b-4",
    statement="Recurrent networks are bound to a fixed context length, Transformers are not.",
    measure="whether each model accepts an input four times as long",
    experiment=Check(
      "rnn.checks.lengths",
      All(
        (
          Bound("recurrent", high=0.0),
          Bound("attention with sinusoids", low=1.0),
          Bound("attention with a learned table", low=1.0),
        )
      ),
    ),
    contradicts=("CTX-3",),
    note="The heading read literally. Read as a state of fixed size it is RNN-9.",
  ),
  Claim(
    id="RNN-8",
    document="D1",
    place="D1-22; D2b-5",
    statement="Recurrent networks have to process their tokens one after another.",
    measure="difference between a linear recurrence run in sequence and by parallel scan",
    experiment=Check(
      "rnn.checks.scan", All((Bound("largest difference", low=1e-3), Bound("rounds over tokens", low=1.0)))
    ),
    note="One counterexample decides: a linear recurrence gives the same outputs in log2(T) rounds. LSTM and GRU,"
    " whose gates read the state, do have to wait.",
  ),
  Claim(
    id="RNN-9",
    document="D2",
    place="D2b-4",
    statement="A recurrent network must squeeze the past into a state of fixed size, which limits what it can recall.",
    measure="accuracy of recall from rows of few and of many key-value pairs, LSTM against attention",
    experiment=Trial(
      studies.CAPACITY,
      All(
        (
          greater(
            "attention of width 32, 8 pairs", "LSTM of width 32, 8 pairs", by=0.1, name="attention over LSTM, 8 pairs"
          ),
          interaction(
            ("LSTM of width 32, 2 pairs", "LSTM of width 32, 8 pairs"),
            ("attention of width 32, 2 pairs", "attention of width 32, 8 pairs"),
            by=0.1,
            name="loss from 2 to 8 pairs, LSTM less attention",
          ),
        )
      ),
    ),
    note="At one size of the state and equal parameters; how the size counts is RNN-11.",
    literature=(
      Literature(
        "copying needs state that grows with length",
        "",
        "Jelassi et al. 2024, seen in public notes on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="RNN-10",
    document="D2",
    place="D2b-5",
    statement="Transformers relate tokens by attention, recurrent networks by recurrence; the range comes from "
    "attention.",
    measure="main effects of attention and of recurrence on recall over a lag, in a two by two design",
    experiment=Trial(
      studies.LAG,
      All(
        (
          Contrast("main effect of attention", _main("attention, lag 64", "LSTM with attention, lag 64"), 0.3),
          Contrast(
            "effect of attention less that of recurrence", {"attention, lag 64": 1.0, "LSTM, lag 64": -1.0}, 0.3
          ),
        )
      ),
    ),
    note="Lag 64, two by two: attention alone, LSTM alone, both, and neither (a token sees itself alone).",
    literature=(
      Literature(
        "26.75 against 17.82",
        "BLEU, recurrent network with; without attention",
        "Bahdanau et al. 2015, Table 1, seen in public notes on GitHub",
        checked=True,
      ),
    ),
  ),
  Claim(
    id="RNN-11",
    document="extension",
    place="D2b-4",
    statement="To recall more pairs a recurrent network needs a wider state, attention does not.",
    measure="accuracy of recall by number of pairs and by width, LSTM and attention",
    experiment=Trial(
      studies.CAPACITY,
      All(
        (
          interaction(
            ("LSTM of width 32, 8 pairs", "LSTM of width 8, 8 pairs"),
            ("attention of width 32, 8 pairs", "attention of width 8, 8 pairs"),
            by=0.05,
            name="gain from width 8 to 32 with 8 pairs, LSTM less attention",
          ),
          greater("LSTM of width 32, 8 pairs", "LSTM of width 8, 8 pairs", by=0.05, name="LSTM, width 32 over 8"),
        )
      ),
    ),
    literature=(
      Literature("recurrent width must grow with the pairs", "multi-query recall", "Arora et al. 2024, Zoology"),
    ),
  ),
)
