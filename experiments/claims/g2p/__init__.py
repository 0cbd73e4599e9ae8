"""The same claims on real text: English words to phonemes (CMUdict)."""

from experiments.protocol.claim import All, At, Claim, Contrast, Literature, Study, Trial, greater

# An older split of CMUdict (106837/2670/12000 words), so comparable only roughly.
PUBLISHED = (
  Literature("28.6 / 7.6", "% WER / PER, LSTM encoder-decoder", "Yao & Zweig 2015"),
  Literature("21.7 / 5.0", "% WER / PER, recurrent with global attention", "Toshniwal & Livescu 2016"),
  Literature("22.1 / 5.2", "% WER / PER, Transformer", "Yolchuyeva et al. 2019"),
)

# One layer on each side at width 64; 16 packed rows hold about 70 words. Cross-entropy per phone on held-out words is
# judged, since it moves earlier and more smoothly than word errors; the long tier also decodes words and tells both.
TIERS = {
  "quick": {"train.steps": 80, "optim.schedule.warmup": 8, "eval.every": 40, "eval.batches": 2, "eval.judge": False},
  "long": {"train.steps": 500, "optim.schedule.warmup": 50, "eval.every": 100, "eval.batches": 4, "eval.judge": True},
}
SMALL_MODEL = {
  "task.judge_words": 1000,
  "model.width": 64,
  "model.depth": 1,
  "model.dropout": 0.0,
  "model.feedforward.hidden": 128,
  "train.batch": 16,
  "eval.batch": 64,
}
SHARED = {tier: SMALL_MODEL | settings for tier, settings in TIERS.items()}

HEADS = Study(
  name="g2p-heads",
  card="g2p",
  arms={f"heads={h}": {"model.heads": h} for h in (1, 2, 4, 8, 16)},
  lean=("heads=1", "heads=4", "heads=16"),
  metric="loss",
  better="min",
  tiers=SHARED,
  grid=(3e-3, 1e-2, 3e-2),
  x="heads",
)

SCORES = {
  "scaled": {"model.attention.kind": "dot"},
  "unscaled": {"model.attention.kind": "dot", "model.attention.scale": 1.0},
  "additive": {"model.attention.kind": "additive"},
}
ADDITIVE = Study(
  name="g2p-score",
  card="g2p",
  arms={
    f"{name} d_k={width}": {"model.heads": 1, "model.value_dim": 64, "model.head_dim": width, **score}
    for width in (16, 64)
    for name, score in SCORES.items()
  },
  metric="loss",
  better="min",
  tiers=SHARED,
  grid=(1e-3, 3e-3, 1e-2, 3e-2),
  x="d_k",
  at={f"{name} d_k={width}": At(width, name) for width in (16, 64) for name in SCORES},
)

# One layer on each side; widths that make the number of weights equal, 90 thousand within 5 %.
READERS = {
  "LSTM": {"model.reads": "none", "model.width": 72},
  "LSTM, Bahdanau": {
    "model.reads": "before",
    "model.width": 62,
    "model.attention.kind": "additive",
    "model.heads": 1,
    "model.projections": "qk",
  },
  "LSTM, Luong": {
    "model.reads": "after",
    "model.width": 66,
    "model.attention.scale": 1.0,
    "model.heads": 1,
    "model.projections": "k",
  },
}
RECURRENT = Study(
  name="g2p-rnn",
  card="g2p",
  arms={"Transformer": {}}
  | {name: {"model.kind": "rnn_seq2seq", "model.direction": "both"} | options for name, options in READERS.items()},
  metric="loss",
  better="min",
  tiers={"long": SHARED["long"] | {"train.steps": 400, "optim.schedule.warmup": 40, "eval.every": 100}},
  grid=(3e-3, 1e-2, 3e-2),
  x="model",
)

CLAIMS = (
  Claim(
    id="G2P-HEAD",
    document="D0",
    place="D0-3; D3-definition; D3-answer-1",
    statement="Several heads pronounce unseen English words better than one head of equal size.",
    measure="cross-entropy per phone on held-out words, at fixed width; word and phoneme error beside it in the long "
    "tier",
    experiment=Trial(HEADS, greater("heads=1", "heads=4", by=0.02, name="loss of 1 head - loss of 4 heads")),
    literature=PUBLISHED,
    note="Parameters, FLOPs and steps are equal for every number of heads; 0.02 nat is 2 % of perplexity per phone.",
  ),
  Claim(
    id="G2P-ADD",
    document="D2",
    place="D2a-5; D4a-3; D4b-2",
    statement="On pronouncing English words scaled dot-product attention does as well as additive and better than "
    "unscaled.",
    measure="cross-entropy per phone on held-out words: scaled, unscaled and additive with one head at two key widths",
    experiment=Trial(
      ADDITIVE,
      All(
        (
          greater("unscaled d_k=64", "scaled d_k=64", by=0.05, name="loss of unscaled - loss of scaled, d_k=64"),
          Contrast(
            "loss of additive - loss of scaled, mean of both d_k",
            {"additive d_k=16": 0.5, "additive d_k=64": 0.5, "scaled d_k=16": -0.5, "scaled d_k=64": -0.5},
            above=-0.03,
          ),
        )
      ),
    ),
    note="As well means not worse by 0.03 nat. Value width, steps and tokens are equal; parameters grow with d_k.",
  ),
  Claim(
    id="G2P-RNN",
    document="D2",
    place="D2b-4; D2b-5",
    statement="A Transformer pronounces unseen English words better than a recurrent encoder-decoder.",
    measure="cross-entropy per phone on held-out words, at equal parameters and steps; word and phoneme error beside "
    "it",
    experiment=Trial(
      RECURRENT,
      All(tuple(greater(name, "Transformer", by=0.02, name=f"loss of {name} less Transformer") for name in READERS)),
    ),
    literature=PUBLISHED,
  ),
)
