"""Hostile calls: one line on stderr, code 2, no worker, nothing written. Each is a mistake that somebody can make."""

import json
import os
import shlex

import pytest

from configs import base, override
from experiments.cli import cli
from experiments.run import runner

CARD = "from configs import base\ndef get_config():\n  config = base.get_config()\n  {}\n  return config\n"
MINE = """
from model.attention.mechanism import Mechanism, Supports
from model.attention.linear import Linear
from model.attention.dot import Dot as Product
from model.errors import Refused
from flax import nnx

class Good(Mechanism):
  def __init__(self, heads, head_dim, *, layer=0, sharp: int = 1):
    super().__init__(heads, head_dim, layer=layer)
    if sharp < 1:
      raise Refused(f"sharp={sharp} is blunt; give 1 or more")

class Heir(Linear):
  pass

class Renamed(Product):
  pass

class Alone(nnx.Module):
  pass

class Asks(Mechanism):
  def __init__(self, heads, head_dim, banana):
    super().__init__(heads, head_dim)

class Odd(Mechanism):
  def __init__(self, heads, head_dim, *, table=list()):
    super().__init__(heads, head_dim)

class Feed(nnx.Module):
  def __init__(self, width: int):
    pass

def function():
  pass
"""
DEEP = {}
for _ in range(60):
  DEEP = {"model": DEEP}

# One configuration a line: what `assay train --config=recall` is given as --config.KEY=VALUE.
CONFIGS = """
# keys
nothing=1
model=1
model.attention=dot
model.head=4
Model.heads=4
model..heads=2
.=1
model.attention.kind.x=1
optim.schedule=cosine
train=5
eval.everyy=5
$LONG=1
model.heads.=2
task.pair=3
name=x
workdir=x
logging.level=1
# types
model.heads=four
model.heads=4.0
model.heads=1e1
model.heads=1_0
model.heads=0x4
model.heads=４
model.heads=
model.heads=none
model.heads=true
model.heads=(4)
model.heads=--4
model.heads=[4]
model.heads="'4'"
model.bias=1
model.bias=yes
model.bias=
optim.lr=fast
optim.lr=1,2
optim.lr=1e
optim.lr=0x1p3
optim.lr=1_0.0
optim.lr=٣
optim.lr=none
optim.lr=
model.attention.scale=big
model.attention.learned=maybe
model.attention.scale=()
# numbers
optim.lr=nan
optim.lr=inf
optim.lr=-inf
optim.lr=1e39
optim.lr=1e-46
optim.lr=1e-39
optim.lr=-1
optim.lr=0
optim.lr=1e999
model.init.gain=1e-45
model.attention.scale=4e38
model.attention.scale=-1e-40
optim.clip=1e400
optim.clip=-1
seed=-1
seed=2147483648
seed=$NINES
train.steps=99999999999
model.dropout=1
model.dropout=-0.1
optim.b2=1
optim.label_smoothing=1.5
model.init.gain=-2
optim.schedule.kind=exponential optim.schedule.rate=-1
# sizes
model.heads=0
model.heads=3
model.heads=-4
model.kv_heads=3
model.head_dim=-1
model.width=0
model.depth=0
model.value_dim=-2
model.window=-1
model.segment=-1
model.memory=4
model.block=-1
train.steps=0
train.batch=0
eval.every=7
eval.every=0
eval.batches=0
eval.batch=-1
train.steps=1 eval.every=20
model.feedforward.hidden=-1
task.pairs=0
task.pairs=99
# words
model.kind=lstm
model.kind=
model.kind=GPT
model.tie=q
model.wiring.norm=rms
optim.kind=lion
optim.schedule.kind=linear
train.compute=float16
eval.split=train
model.init.kind=he
model.init.qk=torch-mha
model.attention.kind=dott
model.attention.kind=
model.attention.kind=mechanism
model.attention.kind=../attention/dot
model.position.kind=scheme
model.feedforward.kind=swish
model.kind=rnn model.cell.kind=cell
task.kind=task
task.kind=recal
model.kind=rnn model.reads=during
model.attention.kind=$LONG
model.attention.kind=__init__
model.kind=rnn model.direction=back
# order and projections
model.wiring.order=a
model.wiring.order=ax
model.wiring.order=
model.wiring.order=AF
model.wiring.order=aaff
model.wiring.order=pa
model.wiring.order=pp
model.projections=kq
model.projections=qkvx
model.projections=qq
model.projections=qk model.tie=qk
model.projections=qkv model.head_dim=5
model.tie=qk model.kv_heads=2
model.tie=kv model.value_dim=3
# mechanisms
model.attention.kind=lsh model.tie=kv
model.attention.kind=lsh model.kv_heads=2
model.attention.kind=lsh model.attention.buckets=3
model.attention.kind=linear model.window=4
model.attention.kind=linear model.itself=false
model.attention.kind=linear model.segment=4
model.attention.kind=linear model.position.kind=alibi
model.attention.kind=talking model.block=2
model.attention.kind=linear model.attention.chunk=0
model.attention.kind=performer model.position.kind=t5
model.attention.kind=additive model.position.kind=rope
model.attention.kind=banded model.block=4
model.attention.kind=banded model.attention.windows=3,4
model.attention.kind=banded model.attention.window=0
model.attention.kind=banded model.attention.anchors=(0,-1)
model.attention.kind=banded model.attention.anchors=(0,1
model.attention.kind=banded model.attention.anchors=0,,1
model.attention.kind=banded model.attention.anchors=((0,1))
model.attention.kind=banded model.attention.anchors=(,)
model.attention.kind=block_sparse model.attention.pattern=x
model.attention.kind=differential model.head_dim=5
model.attention.kind=block_sparse model.attention.pattern=fixed model.attention.columns=99
# positions
model.position.kind=rope model.head_dim=5
model.position.kind=rope model.position.base=1
model.position.kind=learned model.position.length=0
model.position.kind=t5 model.position.buckets=3
model.position.kind=t5 model.position.reach=1
model.position.kind=xl model.position.reach=0
model.position.kind=alibi model.position.ahead=-1
model.position.kind=shaw model.position.clip=0
# families
model.kind=seq2seq
model.kind=rnn_seq2seq
task.kind=copy
model.kind=rnn model.reads=before
model.kind=rnn model.window=3
model.kind=gpt model.reads=after
model.kind=rnn model.cell.chrono=1
model.kind=rnn model.direction=both model.width=5 model.heads=5
# tasks
task.hops=5
task.noise=0.5 task.hops=2
task.hops=2 task.values=64
task.noise=2
task.kind=previous task.back=0
task.kind=previous task.back=16
task.kind=lookup task.addresses=5
task.kind=partner task.names=3 task.symmetric=true
task.kind=listops task.length=5
task.kind=nested task.length=5
task.kind=nested task.depth=99
task.kind=fact task.distance=48
task.kind=memorize task.sequences=100000 task.length=2
# probes
probes=nothing
probes=recording
probes=entropy,entropy
probes=../cli
probes=longer
probes=mutual_information task.kind=previous
probes=pruning model.kind=rnn
probes=(entropy
probes=,
task.kind=previous probes=longer model.position.kind=learned model.position.length=20
# keys without effect
model.kind=rnn model.heads=8
model.kind=rnn model.position.kind=rope
model.kind=rnn model.wiring.norm=post
model.kind=rnn model.feedforward.kind=gelu
model.kind=rnn model.init.qk_gain=2
model.kind=rnn model.tie=qk
model.cell.kind=gru
model.cell.forget_bias=2
optim.kind=sgd optim.b1=0.5
optim.schedule.warmup=10
optim.schedule.rate=2
optim.kind=adamw
optim.weight_decay=0.1
eval.judge=true
model.feedforward.kind=none model.wiring.order=fa
model.attention.kind=banded model.attention.most=3
model.attention.kind=banded model.attention.windows=(1,2,3,4) model.attention.window=5
model.attention.kind=block_sparse model.attention.columns=3
model.kind=rnn model.cell.chrono=5 model.cell.forget_bias=2
model.kind=gpt model.position.kind=alibi model.position.ahead=2
model.projections=vo model.init.qk=torch
# own classes
model.attention.kind=mine.py:Absent
model.attention.kind=mine.py:function
model.attention.kind=mine.py
model.attention.kind=mine.py:
model.attention.kind=:Good
model.attention.kind=absent.py:Good
model.attention.kind=folder.py:Good
model.attention.kind=broken.py:Good
model.attention.kind=mine.py:Alone
model.attention.kind=mine.py:Asks
model.attention.kind=mine.py:Odd
model.attention.kind=mine.py:Feed
model.attention.kind=mine.py:Good model.attention.sharp=0
model.attention.kind=mine.py:Good model.attention.x=1
model.attention.kind=mine.py:Heir model.window=3
model.attention.kind=mine.py:Renamed model.attention.chunk=3
model.position.kind=mine.py:Good
model.feedforward.kind=mine.py:Good
task.kind=mine.py:Good
model.feedforward.kind=mine.py:Feed
model.kind=mine.py:Good
model.kind=mine.py:Alone
model.kind=absent.py:Mine
model.kind=rnn model.cell.kind=mine.py:Good
model.attention.kind=~nobody-here/mine.py:Good
model.attention.kind=$NUL.py:Good
model.attention.kind=$LONG.py:Good
model.attention.kind=latin.py:Good
"""

# One call a line.
CALLS = """
''
trian
train train
--json
train
train --config
train --config=
train --config=hedas
train --config=absent.py
train --config=folder.py
train --config=broken.py
train --config=empty.py
train --config=raises.py
train --config=number.py
train --config=negative.py
train --config=idle.py
train --config=relative.py
train --config=latin.py
train '--config=$LONG'
train '--config=$LONG.py'
train '--config=$NUL'
train '--config=$NUL.py'
train --config=..
train --config=../
train '--config=~nobody-here/x.py'
train --config=deep.json
train --config=list.json
train --config=cut.json
train --config=other.json
train --config=old.json
train --config=nan.json
train --config=null.json
train --config=latin.json
train --config=absent.json
train --config=folder.json
train --config=secret.py
train --config=secret.json
train --config=recall --config.seed
train --config=recall --config.=1
train --config=recall --config.seed 1
train --config=recall --wordir=x
train --config=recall --work=x
train --config=recall extra
train --config=recall --workdir=
train --config=recall --workdir
train --config=recall '--workdir=$NUL'
train --config=recall --workdir=file
train --config=recall --workdir=file/below
train --config=recall '--workdir=$LONG'
train --config=recall --workdir=closed
train --config=recall --workdir=foreign
train --config=recall --jobs=0
train --config=recall --jobs=-1
train --config=recall --jobs=x
train --config=recall --jobs=1.5
train --config=recall --jobs=1_0
train --config=recall '--jobs=２'
train --config=recall --jobs=
train --config=recall '--jobs=$THIRTY'
eval
eval ''
eval absent
eval file
eval '$NUL'
eval foreign
eval '$LONG'
eval foreign --split=train
eval foreign --config=recall
eval foreign more
report
report absent
report file
report '$NUL'
report foreign
sweep
sweep --config=recall --axis
sweep --config=recall --axis model.heads
sweep --config=recall --axis model.heads=
sweep --config=recall --axis =1
sweep --config=recall --axis model.heads=1,,2
sweep --config=recall --axis model.heads=1,1
sweep --config=recall --axis model.heads=1,2,
sweep --config=recall --axis model.heads=1,3
sweep --config=recall --axis model.heads=1,2 model.heads=4
sweep --config=recall --axis model.heads=1,2 --axis model.heads=4
sweep --config=recall --axis nothing=1,2
sweep --config=recall --axis optim.lr=1e-3,1e39
sweep --config=recall --axis 'model.attention.anchors=(0,1),(2,3)'
sweep --config=banded.py --axis 'model.attention.anchors=(0,1),(2,3'
sweep --config=banded.py --axis 'model.attention.anchors=(0,1)),(2,3)'
sweep --config=banded.py --axis 'model.attention.anchors=(0,1],(2,3)'
sweep --config=banded.py --axis 'model.attention.anchors=(0,1),(0, 1)'
sweep --config=banded.py --axis 'model.attention.anchors=(0;1),(2;3)'
sweep --config=banded.py --axis 'model.attention.anchors=(a),(b)'
sweep --config=recall --axis model.heads=1,2 --config.model.kind=rnn
sweep --config=heads --config.model.kind=rnn
sweep --config=recall --config.optim.b1=0.5 --axis optim.kind=sgd
sweep --config=recall --config.model.memory=3
sweep --config=old.json
sweep --config=banded.py
sweep --config=nosweep.py
sweep --config=textsweep.py
sweep --config=deadsweep.py
sweep --config=recall --seeds=0
sweep --config=recall --seeds=-3
sweep --config=recall --seeds=two
sweep --config=recall --seeds=1e3
sweep --config=recall --seeds=1_0
sweep --config=recall --seeds=99999999999
sweep --config=recall --seeds=10001
sweep --config=recall '--seeds=３'
sweep --config=recall --rerun=all
sweep --config=recall --axes model.heads=1,2
compare --config=recall
compare attention=dot --config=recall
compare attention=dot attention --config=recall
compare attention=dot =additive --config=recall
compare attention=dot attention= --config=recall
compare attention=dot attention=dott --config=recall
compare attention=dot '' --config=recall
compare attention=dot attention=additive
compare attention=dot 'attention=banded,model.attention.anchors=(0,1' --config=recall
compare attention=dot 'attention=banded,model.attention.anchors=(0,-1)' --config=recall
compare attention=dot attention=additive,,model.heads=2 --config=recall
compare model.kind=bert model.kind=rnn,model.heads=8 --config=recall
compare model.kind=rnn model.kind=rnn,model.cell.kind=gru --config=recall --config.model.heads=8
compare model.cell.kind=gru model.cell.kind=tanh --config=recall
compare attention=dot attention=additive --config=recall --lrs=
compare attention=dot attention=additive --config=recall --lrs=a
compare attention=dot attention=additive --config=recall --lrs=1e-3,
compare attention=dot attention=additive --config=recall --lrs=0
compare attention=dot attention=additive --config=recall --lrs=-1
compare attention=dot attention=additive --config=recall --lrs=nan
compare attention=dot attention=additive --config=recall --lrs=inf
compare attention=dot attention=additive --config=recall --lrs=1e39
compare attention=dot attention=additive --config=recall --lrs=1e-46
compare attention=dot attention=additive --config=recall '--lrs=1e-3;1e-2'
compare attention=dot attention=additive --config=recall --lrs=1_0
compare attention=dot attention=additive --config=recall --delta=
compare attention=dot attention=additive --config=recall --delta=x
compare attention=dot attention=additive --config=recall --delta=-1
compare attention=dot attention=additive --config=recall --delta=nan
compare attention=dot attention=additive --config=recall --delta=inf
compare attention=dot attention=additive --config=recall --delta=1e39
compare attention=dot attention=additive --config=recall --delta=1e-46
compare attention=dot attention=additive --config=recall --delta=0x1
compare attention=dot attention=additive --config=recall --seeds=0
compare attention=dot attention=additive --config=recall --seeds=x
compare attention=dot attention=additive --config=recall --seeds=1.0
reproduce HEAD-99
reproduce HEDA
reproduce ''
reproduce --tier=quik
reproduce --tier=
reproduce --tier
reproduce --rerun=fresh
reproduce --jobs=0
reproduce --config=recall
reproduce --config.seed=1
reproduce MECH-1 --tier=exact --workdir=file
reproduce MECH-1 --tier=exact --workdir=foreign
reproduce '$LONG'
reproduce '$NUL'
list
list ''
list clams
list claims tasks
list claims --config.seed=1
ledger
ledger merg
ledger merge
ledger merge absent
ledger merge file
ledger merge '$NUL'
check
check ''
check absent
check file
check foreign
check $NUL
check foreign --repair=yes
replicate NOPE-1
replicate --first_seed=0
replicate --first_seed=1e2
replicate --draw=0
replicate --draw_seed=x
replicate --draw_seed=1_0
replicate --tier=tiny
train --config=recall --keep_stale --rerun=stale
compare attention=dot attention=additive --config=recall --better=up
compare attention=dot attention=additive --config=recall --metric=acuracy
compare attention=dot attention=additive --config=recall --metric=
compare attention=dot attention=additive --config=recall --lrs=1e-3,1e-3
compare attention=dot attention=additive --config=recall --config.optim.lr=1e-3
compare optim.lr=1e-3 optim.lr=1e-2 --config=recall
compare seed=1 seed=2 --config=recall
sweep --config=recall --axis seed=1,2
sweep --config=recall --axis optim.lr=1e-3,0.001
explain
explain ''
explain MECH-999
explain MECH-5 MECH-6
bench
bench absent
bench recurent
bench attention_growth --lengths=x
bench attention_growth --mechanisms=dott
bench attention_growth --processes=0
bench attention_growth --limit=-1
bench attention_growth --limit=nan
bench attention_growth --rule=sideways
bench recurrent --mechanisms=dot
doctor --config.seed=1
doctor more
doctor --workdir=x
new
new mechanism
new mechansim x
new mechanism ../evil
new mechanism dot
new mechanism class
new mechanism Dot
new mechanism ''
new mechanism '$SIXTY'
new task a-b
new claim '$NUL'
new position '１'
"""


def lines(block):
  """The lines of a block, comments left out, with the words that no line could hold."""
  words = {"$LONG": "x" * 300, "$SIXTY": "x" * 60, "$NUL": "a\0b", "$NINES": "9" * 5000, "$THIRTY": "9" * 30}
  for line in block.strip().splitlines():
    if not line.startswith("#"):
      parts = shlex.split(line)
      for word, meant in words.items():
        parts = [part.replace(word, meant) for part in parts]
      yield parts


@pytest.fixture(scope="module")
def home(tmp_path_factory):
  """A folder with cards, classes and results that are wrong in one way each."""
  root = tmp_path_factory.mktemp("home")
  files = {
    "mine.py": MINE,
    "broken.py": "def (",
    "empty.py": "",
    "raises.py": "def get_config():\n  raise KeyError('a\\nb')",
    "number.py": "def get_config():\n  return 3",
    "negative.py": CARD.format("config.model.width = -3"),
    "idle.py": CARD.format("config.model.update({'kind': 'rnn', 'heads': 8})"),
    "relative.py": CARD.format("config.model.attention = {'kind': 'absent.py:Good'}"),
    "banded.py": CARD.format("config.model.attention = {'kind': 'banded'}"),
    "nosweep.py": CARD.format("") + "sweep = 3\n",
    "textsweep.py": CARD.format("") + "def sweep():\n  return 'model.heads=1,2'\n",
    "deadsweep.py": CARD.format("") + "def sweep():\n  return [{'model.cell.kind': 'gru'}]\n",
    "deep.json": json.dumps(DEEP),
    "list.json": "[]",
    "cut.json": '{"model": ',
    "other.json": '{"schema": 2, "plots": []}',
    "old.json": json.dumps(override.resolve(base.get_config()) | {"trainer": {"steps": 3}}),
    "nan.json": '{"optim": {"lr": NaN}}',
    "null.json": '{"task": {"kind": null}}',
    "file": "",
    "secret.py": "",
    "secret.json": "{}",
  }
  for name, text in files.items():
    (root / name).write_text(text)
  for name in ("latin.py", "latin.json"):
    (root / name).write_bytes(b"# \xe9\xff\n")
  for name in ("folder.py", "folder.json", "closed", "foreign"):
    (root / name).mkdir()
  (root / "foreign" / "notes.txt").write_text("mine")
  for name in ("secret.py", "secret.json", "closed"):
    (root / name).chmod(0)
  return root


def told(args, home, monkeypatch, capsys):
  """The one line that a call is answered with."""
  if os.geteuid() == 0 and any("secret" in arg or "closed" in arg for arg in args):
    pytest.skip("nothing is closed to root")
  monkeypatch.chdir(home)
  monkeypatch.setattr(runner.subprocess, "Popen", lambda *a, **k: pytest.fail("a worker was started"))
  before = {path: path.stat().st_mtime_ns for path in everything(home)}
  code = cli.main(args)
  out, err = capsys.readouterr()
  assert (code, out) == (2, ""), err
  assert len(err.splitlines()) == 1, err
  assert err.startswith("assay: ")
  assert "fault of ours" not in err
  assert {path: path.stat().st_mtime_ns for path in everything(home)} == before, "something was written"
  return err


def everything(home):
  """All files but locks, which hold nothing, and what Python keeps of a card."""
  found = [path for path in home.rglob("*") if "__pycache__" not in path.parts and path.name != "lock"]
  return [path for path in found if path.is_file()]


@pytest.mark.parametrize("settings", list(lines(CONFIGS)), ids=lambda parts: ascii(" ".join(parts))[:60])
def test_a_wrong_configuration(settings, home, monkeypatch, capsys):
  said = told(["train", "--config=recall", *(f"--config.{text}" for text in settings)], home, monkeypatch, capsys)
  keys = [text.partition("=")[0].strip(".")[:40] for text in settings]
  assert any(key.rpartition(".")[2] in said for key in keys), said  # the line shows what it is about


@pytest.mark.parametrize("args", list(lines(CALLS)), ids=lambda args: ascii(" ".join(args))[:80])
def test_a_wrong_call(args, home, monkeypatch, capsys):
  told(args, home, monkeypatch, capsys)


def test_there_are_two_hundred():
  assert len([*lines(CONFIGS), *lines(CALLS)]) >= 200
