"""Every key of a configuration with its meaning and unit; cards start from here and change what they ask about.

A key that has no effect on what is built, such as the warm-up of a constant rate, is refused when the user sets it; the
rules stand in configs/effect.py.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config() -> Any:  # a ConfigDict, whose attributes have no static types
  """A small encoder on the recall task: trains in seconds on a CPU."""
  config: Any = ConfigDict()
  config.seed = 0  # root of every random stream: initial values, batches, dropout
  config.model = model()
  config.task = ConfigDict({"kind": "recall"})  # which data, and that task's own options (train/tasks/<kind>.py)
  config.optim = optim()

  config.train = train = ConfigDict()
  train.steps = 300  # parameter updates
  train.batch = 32  # sequences per update
  train.compute = "float32"  # type of activations, float32 or bfloat16; parameters and softmax stay float32

  config.eval = evaluation = ConfigDict()
  evaluation.every = 20  # updates between evaluations; divides train.steps, and is what one compiled call runs
  evaluation.batches = 4  # batches per evaluation
  evaluation.batch = 64  # sequences per evaluation batch
  evaluation.split = "validation"  # validation or test, streams apart from training
  evaluation.judge = False  # decode at the end of the run and score whole outputs, where the task can

  config.probes = ()  # names of files in experiments/probes/ whose numbers are stored with the trial
  return config


def model() -> Any:
  """The model's options."""
  options: Any = ConfigDict()
  options.kind = (
    "bert"  # bert (sees both ways), gpt (causal), seq2seq (encoder, decoder), rnn or rnn_seq2seq (recurrent)
  )
  options.width = 64  # features per token
  options.heads = 4  # query heads
  options.kv_heads = 0  # key and value heads, a divisor of heads; 0 = heads, 1 = multi-query
  options.head_dim = 0  # features per head of queries and keys; 0 = width / heads
  options.value_dim = 0  # features per head of values; 0 = head_dim
  options.depth = 1  # layers (of the encoder and of the decoder each, in seq2seq)
  options.tie = "none"  # projections that share one matrix: none, qk, kv or qkv
  options.projections = "qkvo"  # which of the query, key, value and output projections exist; the others are identities
  options.bias = False  # biases in the four attention projections
  options.itself = True  # a token may attend to itself
  options.window = 0  # keys seen on either side: distance < window; 0 = all
  options.segment = (
    0  # tokens per stretch of Transformer-XL: a stretch sees itself and the memory before it; 0 = no cut
  )
  options.memory = 0  # tokens before its stretch that a layer remembers, without gradient; needs segment
  options.block = 0  # keys per block of the blockwise path (less memory); 0 = dense
  options.dropout = 0.0  # share of activations dropped in training
  options.attention_dropout = 0.0  # share of attention weights dropped in training
  options.direction = "forward"  # recurrent: forward, both (joined in every layer) or apart (joined at the top, ELMo)
  options.reads = "none"  # recurrent: attention after the cell (Luong), before it (Bahdanau; rnn_seq2seq only) or none
  options.wiring = ConfigDict()
  options.wiring.norm = "pre"  # where layer normalization stands: pre, post or none
  options.wiring.residual = True  # add the sublayer's input to its output
  options.wiring.order = "af"  # sublayers: a attention, f feed-forward, p both in parallel; repeated over the layers
  options.wiring.eps = 1e-6  # added to the variance in every layer normalization, above 0; PyTorch has 1e-5
  options.attention = ConfigDict({"kind": "dot"})  # the mechanism and its own options (model/attention/<kind>.py)
  options.position = ConfigDict({"kind": "none"})  # how order is told (model/position/<kind>.py)
  options.feedforward = ConfigDict({"kind": "relu"})  # the sublayer after attention (model/feedforward/<kind>.py)
  options.cell = ConfigDict({"kind": "lstm"})  # recurrent: the cell and its own options (model/cell/<kind>.py)
  options.init = ConfigDict()
  options.init.kind = "glorot"  # scheme of initial weights: lecun, glorot, torch or gpt2
  options.init.qk = ""  # another scheme for query and key projections ("" = the same; torch_mha too)
  options.init.gain = 1.0  # multiplies every initial matrix
  options.init.qk_gain = 1.0  # multiplies initial query and key projections once more
  options.init.out_gain = 1.0  # multiplies the last initial matrix of every sublayer once more
  return options


def optim() -> Any:
  """The optimizer's options."""
  options: Any = ConfigDict()
  options.kind = "adam"  # adam, adamw (decays matrices and tables) or sgd (momentum 0.9)
  options.lr = 1e-2  # peak learning rate
  options.b1 = 0.9  # decay of Adam's mean of gradients
  options.b2 = 0.98  # decay of Adam's mean of squares
  options.weight_decay = 0.0  # decoupled, per update in units of the learning rate; needs adamw
  options.clip = 1.0  # largest global norm of a gradient; 0 = no clipping
  options.label_smoothing = 0.0  # probability spread over all classes in the training loss
  options.schedule = ConfigDict()
  options.schedule.kind = "constant"  # constant, warmup, cosine, exponential, warmup_cosine or inverse_sqrt
  options.schedule.warmup = 0  # updates of linear rise, where the schedule has one
  options.schedule.rate = 4.0  # exponential: falls to exp(-rate) of the peak at the last update
  return options
