"""Each rule refuses a wrong value in one line that shows the value, and lets the nearest right one pass."""

import re
from pathlib import Path

import pytest

from configs import base, check, override
from configs.check import Refused

WRONG = [  # overrides, what the line must show
  (["model.heads=3"], "model.width=64"),
  (["model.heads=0"], "model.heads=0"),
  (["model.heads=4", "model.kv_heads=3"], "model.kv_heads=3"),
  (["model.kv_heads=8"], "model.kv_heads=8"),
  (["model.head_dim=-1"], "model.head_dim=-1"),
  (["model.value_dim=-8"], "model.value_dim=-8"),
  (["model.depth=0"], "model.depth=0"),
  (["model.width=0"], "model.width=0"),
  (["model.window=-1"], "model.window=-1"),
  (["model.dropout=1"], "model.dropout=1"),
  (["model.dropout=-0.1"], "model.dropout=-0.1"),
  (["model.attention_dropout=1"], "model.attention_dropout=1"),
  (["model.attention.kind=linear", "model.attention_dropout=0.1"], "Linear attention holds no weights to drop"),
  (["model.kind=rnn", "model.window=4"], "model.window=4"),
  (["model.kind=rnn", "model.reads=before"], "model.reads=before"),
  (["model.kind=gpt", "model.direction=both"], "model.direction=both"),
  (["model.memory=4"], "model.memory=4"),
  (["model.kind=lstm"], "model.kind='lstm'"),
  (["model.tie=q"], "model.tie='q'"),
  (["model.tie=qk", "model.kv_heads=2"], "kv_heads=2"),
  (["model.tie=qkv", "model.kv_heads=1"], "kv_heads=1"),
  (["model.tie=kv", "model.value_dim=8"], "value_dim=8"),
  (["model.tie=qkv", "model.value_dim=8"], "value_dim=8"),
  (["model.wiring.norm=rms"], "model.wiring.norm='rms'"),
  (["model.wiring.eps=0"], "model.wiring.eps=0"),
  (["model.wiring.eps=-1e-6"], "model.wiring.eps=-1e-06"),
  (["model.init.kind=he"], "model.init.kind='he'"),
  (["model.init.kind=torch_mha"], "model.init.kind='torch_mha'"),
  (["model.init.qk=he"], "model.init.qk='he'"),
  (["model.init.gain=-1"], "model.init.gain=-1"),
  (["optim.kind=lion"], "optim.kind='lion'"),
  (["optim.lr=0"], "optim.lr=0"),
  (["optim.lr=-1"], "optim.lr=-1"),
  (["optim.b2=1"], "optim.b2=1"),
  (["optim.clip=-1"], "optim.clip=-1"),
  (["optim.weight_decay=0.1"], "optim.kind=adam"),
  (["optim.label_smoothing=1"], "optim.label_smoothing=1"),
  (["optim.schedule.kind=linear"], "optim.schedule.kind='linear'"),
  (["optim.schedule.kind=warmup"], "optim.schedule.warmup=0"),
  (["optim.schedule.kind=warmup", "optim.schedule.warmup=301"], "train.steps=300"),
  (["train.steps=0"], "train.steps=0"),
  (["train.steps=50"], "train.steps=50"),
  (["train.batch=0"], "train.batch=0"),
  (["train.compute=float16"], "train.compute='float16'"),
  (["eval.every=7"], "eval.every=7"),
  (["eval.every=600"], "eval.every=600"),
  (["eval.batches=0"], "eval.batches=0"),
  (["eval.split=train"], "eval.split='train'"),
  (["seed=-1"], "seed=-1"),
  (["seed=2147483648"], "seed='2147483648'"),
  (["probes=a,a"], "probes=a,a"),
  (["task.pairs=0"], "task.pairs=0"),
  (["task.pairs=33"], "task.keys=32"),
  (["task.noise=1.5"], "task.noise=1.5"),
  (["task.kind=g2p", "task.packings=17"], "task.packings=17"),
]
RIGHT = [
  ["model.heads=3", "model.head_dim=5"],
  ["model.heads=4", "model.kv_heads=2"],
  ["model.tie=qk", "model.kv_heads=4"],
  ["model.tie=kv", "model.value_dim=16"],
  ["model.tie=qk", "model.value_dim=8"],
  ["model.tie=kv", "model.kv_heads=2"],
  ["model.wiring.eps=1e-05"],
  ["model.init.qk=torch_mha"],
  ["model.dropout=0.999"],
  ["optim.kind=adamw", "optim.weight_decay=0.1"],
  ["optim.schedule.kind=warmup", "optim.schedule.warmup=300"],
  ["train.steps=50", "eval.every=10"],
  ["eval.split=test"],
  ["seed=2147483647"],
  ["task.pairs=32"],
  ["task.kind=previous", "task.back=-1"],
]


@pytest.mark.parametrize(
  ("overrides", "shown"), WRONG, ids=lambda part: " ".join(part) if isinstance(part, list) else ""
)
def test_a_wrong_value_is_shown_with_what_is_allowed(overrides, shown):
  with pytest.raises(Refused) as caught:
    override.load("heads", overrides)
  message = str(caught.value)
  assert shown in message
  assert len(message.splitlines()) == 1
  assert any(word in message for word in ("allowed", "choose", "set ", "name each", "needs"))


@pytest.mark.parametrize("overrides", RIGHT, ids=" ".join)
def test_a_right_value_passes(overrides):
  flat = check.flatten(override.resolve(override.load("heads", overrides)))
  assert [f"{key}={flat[key]}" for key in (text.partition("=")[0] for text in overrides)] == overrides


def test_the_proposed_interval_passes():
  for steps in (1, 7, 50, 97, 360):
    with pytest.raises(Refused, match="such as eval") as caught:
      override.load("heads", [f"train.steps={steps}", "eval.every=11"])
    proposal = str(caught.value).rpartition("such as ")[2]
    override.load("heads", [f"train.steps={steps}", proposal])


def test_unread_and_missing_keys_are_refused():
  config = override.resolve(base.get_config())
  with pytest.raises(Refused, match=r"unknown key model\.attention\.temperature"):
    check.check({**config, "model": {**config["model"], "attention": {"kind": "dot", "temperature": 1.0}}})
  with pytest.raises(Refused, match=r"unknown key extra"):
    check.check({**config, "extra": {}})
  del config["optim"]["lr"]
  with pytest.raises(Refused, match=r"optim\.lr is missing"):
    check.check(config)


@pytest.mark.parametrize(
  ("overrides", "said"),
  [
    (["probes=entropy", "model.kind=rnn", "model.reads=none"], "probes=entropy looks at"),
    (["probes=pruning", "model.kind=rnn"], "probes=pruning looks at a stack of attention layers"),
    (["probes=pruning", "model.projections=qkv"], "probes=pruning silences heads by their output projection"),
    (["probes=mutual_information", "task.kind=previous"], "probes=mutual_information reads task.kind=recall only"),
  ],
  ids=str,
)
def test_a_probe_that_could_not_read_the_model_is_refused(overrides, said):
  with pytest.raises(Refused, match=re.escape(said)):
    override.load("recall", overrides)


def test_what_the_rules_of_probes_speak_of_some_probe_calls():
  """A rule that names a function which no probe calls would never refuse anything."""
  spoken = set(re.findall(r"\brecording\.\w+", Path(check.__file__).read_text()))
  assert len(spoken) >= 4
  assert spoken <= set().union(*check.probes().values())


def test_a_mechanisms_own_refusal_of_a_scheme_is_told_before_anything_is_built():
  settings = ["model.attention.kind=differential", "model.position.kind=rope", "model.head_dim=6"]
  with pytest.raises(Refused, match="differential attention turns each half of a head: head_dim=6"):
    override.load("recall", settings)
  override.load("recall", [*settings[:2], "model.head_dim=8"])
