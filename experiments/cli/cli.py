"""`assay`: how a command line is read, run and answered for.

Flags stand in the ecosystem's syntax: --config=CARD, --config.a.b=value, the rest by argparse. Every command is one
module of experiments/cli/commands, imported when it is asked for.
"""

import argparse
import contextlib
import functools
import importlib.util
import os
import shlex
import sys
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path

from configs import slots, userfile, values
from experiments.record import atomic
from experiments.run import signals
from model.errors import Refused

PROG = "assay"
TIERS = ("exact", "quick", "small", "long", "gpu")
LISTS = ("claims", "mechanisms", "positions", "tasks", "configs", "models", "probes", "measures")
MOST_SEEDS = 10_000


def main(argv: Sequence[str] | None = None) -> int:
  """Runs one command and returns its exit code (see the contract in README)."""
  argv = list(sys.argv[1:] if argv is None else argv)
  try:
    with signals.caught():
      return _answered(argv)
  except (signals.Interrupted, KeyboardInterrupt) as stopped:
    number = str(stopped) or "SIGINT"
    print(f"assay: stopped by {number}; run the same command again to go on", file=sys.stderr)
    return getattr(stopped, "code", 130)


def entry() -> None:
  """The program `assay`: one command, then its exit code."""
  code = main()
  if code > 128:  # ended at any moment: libraries torn down while their threads still work would crash
    for stream in (sys.stdout, sys.stderr):
      with contextlib.suppress(OSError, ValueError):
        stream.flush()
    os._exit(code)
  sys.exit(code)


def _answered(argv: list[str]) -> int:
  """Runs the command and turns every fault into its code."""
  space = None
  try:
    shadowed()
    space, overrides = parse(parser(), argv)
    space.argv = argv
    return _run(space, overrides)
  except BrokenPipeError:
    with contextlib.suppress(OSError):
      os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 0
  except Exception as error:
    return _fault(error, space)


def _run(space, overrides: list[str]) -> int:
  if overrides and not hasattr(space, "config"):
    raise Refused(f"--config.{overrides[0]} means nothing to `{PROG} {space.command}`; leave it out")
  if hasattr(space, "config"):
    from configs import override

    space.config = override.located(space.config)  # a user's file is found again from any folder
  command = import_module(f"experiments.cli.commands.{space.command}")
  quiet = userfile.to_stderr() if space.json else contextlib.nullcontext()  # stdout is for the document
  with signals.by_flags(), quiet:
    document, code = command.run(space, overrides)
  if space.json:
    print(atomic.canonical(document))
  return code


def _fault(error: Exception, space) -> int:
  """Every way to fail: the user's mistake, the disk, or our own fault."""
  from configs import Refused as ConfigRefused

  if isinstance(error, Refused | ConfigRefused):
    from experiments.record import moved

    print(f"assay: {_line(error)}{moved.remedy(_line(error))}", file=sys.stderr)
    return 2
  if isinstance(error, OSError) and error.filename:
    print(f"assay: {error.filename}: {error.strerror}; free the disk or choose another --workdir=", file=sys.stderr)
    return 2
  where = _crash(space)
  print(f"assay: a fault of ours: {type(error).__name__}: {_line(error)[:300]} (traceback in {where})", file=sys.stderr)
  return 1


def _crash(space) -> Path:
  """Where the traceback went: WORKDIR/crash.txt, or the current folder's when no workdir was opened."""
  given = getattr(space, "workdir", None)
  folder = Path(given) if given and Path(given).is_dir() else Path("assay-results")
  path = folder / "crash.txt"
  with contextlib.suppress(OSError):
    folder.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
      file.write(traceback.format_exc())
  return path


def _line(error: Exception) -> str:
  return " ".join(str(error).split())


def shadowed() -> None:
  """Refuses to start when another package answers to one of our generic names."""
  ours = Path(__file__).resolve().parents[2]
  for name in ("model", "train", "configs", "experiments"):
    found = importlib.util.find_spec(name)
    origin = Path(found.origin).resolve() if found and found.origin else None
    if origin != ours / name / "__init__.py":
      raise Refused(
        f"the package {name!r} comes from {origin or 'nowhere'}, not from {ours}; run from another folder or remove it"
      )


# ---------------------------------------------------------------------------------------------------------------------
# Reading the command line


class Parser(argparse.ArgumentParser):
  """argparse whose complaints are one line and exit code 2, with a suggestion for a mistyped word."""

  def error(self, message: str):
    raise Refused(f"{message}; see `{self.prog} --help`")

  def _check_value(self, action, value):
    if action.choices is not None and value not in action.choices:
      hint = slots.suggestion(str(value), action.choices)
      raise Refused(f"unknown {action.metavar or action.dest} {value!r}: {hint}allowed: {', '.join(action.choices)}")


def parse(parser: Parser, argv: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
  """Namespace and the overrides "a.b=value" of all --config.a.b=value flags.

  Raises Refused for a flag that nobody knows, with a suggestion.
  """
  for text in argv:
    if "\0" in text:
      raise Refused(f"argument {text!r:.200} holds the character NUL, which no name and no number has; leave it out")
  overrides = [text.removeprefix("--config.") for text in argv if text.startswith("--config.")]
  rest = [text for text in argv if not text.startswith("--config.")]
  for text in overrides:
    if "=" not in text:
      raise Refused(f"--config.{text} has no value; write --config.{text}=VALUE")
  space, unknown = parser.parse_known_args(rest)
  if hasattr(space, "names") and not any(text.startswith("-") for text in unknown):
    space.names, unknown = [*space.names, *unknown], []  # argparse gives up words that stand behind a flag
  if unknown:
    command = subparser(parser, getattr(space, "command", None))
    known = sorted({option for action in command._actions for option in action.option_strings})
    hint = slots.suggestion(unknown[0].partition("=")[0], known)
    raise Refused(f"unknown argument {unknown[0]!r}: {hint}allowed: {', '.join(known)} and --config.KEY=VALUE")
  if getattr(space, "keep_stale", False) and getattr(space, "rerun", None):
    raise Refused("--keep_stale keeps what --rerun=stale runs again; give one of them")
  return space, overrides


def subparser(parser: Parser, name: str | None) -> argparse.ArgumentParser:
  """The parser of one command."""
  for action in parser._actions:
    if isinstance(action, argparse._SubParsersAction) and name in action.choices:
      return action.choices[name]
  return parser


def typed(space: argparse.Namespace) -> str:
  """The command line as it was typed, quoted for a shell."""
  return shlex.join(["assay", *space.argv])


def ran(trials: Mapping[str, int]) -> str:
  """How many trials a command asked for, and how many of them it had to run."""
  return f"{trials['planned']} trials: {trials['stored']} stored before, {trials['ran']} run now"


def workdir(given: str | None, command: str, name: str) -> Path:
  """The workdir asked for, or ./assay-results/<command>-<name>."""
  from experiments.run import store

  return store.place(given, command, name)


# ---------------------------------------------------------------------------------------------------------------------
# Which commands there are, and which flags they take


def parser() -> Parser:
  """The whole command line."""
  top = Parser(prog=PROG, description="Is that claim about attention true? Turns claims into verdicts.")
  commands = top.add_subparsers(dest="command", metavar="command", required=True, parser_class=Parser)
  add = functools.partial(_command, commands)
  sub = add("list", "list claims, mechanisms, positions, tasks, configs, models, probes or measures")
  sub.add_argument("what", choices=LISTS, metavar="what")
  for part in (_of_models, _of_claims, _of_results, _of_this_machine, _of_your_own):
    part(add)
  return top


def _command(commands, name: str, text: str, *, config: bool = False, workdir=False, jobs=False) -> Parser:
  """A command, and the flags that it shares with others."""
  sub = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
  sub.add_argument("--json", action="store_true", help="one JSON document on stdout")
  if config:
    sub.add_argument("--config", required=True, help="card, path.py or WORKDIR/config.json")
  if workdir:
    sub.add_argument("--workdir", help="where results go (default ./assay-results/...)")
  if jobs:
    sub.add_argument("--jobs", type=positive, default=0, help="worker processes (default: one per core)")
    sub.add_argument("--profile", default="", metavar="FOLDER", help="write a profile of the run for xprof")
    kept = "keep results that other code made, marked stale (default: run them again)"
    sub.add_argument("--keep_stale", "--keep-stale", action="store_true", help=kept)
    sub.add_argument(
      "--rerun", choices=("stale",), metavar="what", help="stale: the default, what --keep_stale turns off"
    )
  return sub


def _of_models(add) -> None:
  sub = add("train", "train one model and keep it", config=True, workdir=True, jobs=True)
  _writer(sub)
  sub = add("eval", "evaluate a trained model again, from its checkpoint")
  sub.add_argument("workdir", help="the workdir of `assay train`")
  sub.add_argument("--split", choices=("validation", "test"), metavar="split", default="test")
  sub = add("generate", "what a trained model goes on with, after a text or after symbols")
  sub.add_argument("workdir", help="the workdir of `assay train`, or WORKDIR/trials/KEY of a sweep run with --keep")
  sub.add_argument("prompt", nargs="?", metavar="PROMPT", help="a text, or symbols such as '3 1 2'; default: stdin")
  sub.add_argument("--length", type=positive, default=100, metavar="N", help="symbols to draw (default 100)")
  text = "0 takes the most probable symbol (default), above it draws"
  sub.add_argument("--temperature", type=real, default=0.0, help=text)
  sub.add_argument("--seed", type=integer, default=0, help="of the draws (default 0)")
  kept = "take a model that other code trained, as far as its checkpoint fits"
  sub.add_argument("--keep_stale", "--keep-stale", action="store_true", help=kept)
  sub = add("sweep", "run a card's sweep, or axes given here", config=True, workdir=True, jobs=True)
  sub.add_argument(
    "--axis", nargs="+", action="extend", default=[], metavar="KEY=V1,V2", help="crossed; a value with commas as (0,1)"
  )
  sub.add_argument("--seeds", type=seeds, default=3, help="seeds per point (default 3)")
  sub.add_argument("--keep", action="store_true", help="keep final checkpoints, for `load` in Python")
  sub.add_argument("--dry_run", action="store_true", help="print points, cohorts, sizes and time; run nothing")
  _writer(sub)
  sub = add("compare", "tune two or more arms alike and tell them apart", config=True, workdir=True, jobs=True)
  sub.add_argument("arms", nargs="+", metavar="ARM", help="attention=dot, or KEY=VALUE,KEY=VALUE")
  sub.add_argument("--delta", type=real, default=0.0, help="smallest difference that matters")
  sub.add_argument("--metric", default="auc", help="measure to compare (default auc)")
  sub.add_argument(
    "--better", choices=("max", "min"), metavar="way", help="which is better, where the measure has none"
  )
  sub.add_argument("--seeds", type=seeds, default=12, help="fresh seeds per arm (default 12)")
  lrs = "learning rates that every arm is tuned over; a single one is fixed"
  sub.add_argument("--lrs", default="1e-3,3e-3,1e-2,3e-2", help=lrs)
  _writer(sub)


def _writer(sub: argparse.ArgumentParser) -> None:
  """The flag of commands whose trials writers may get."""
  text = "what else gets the trials: tensorboard, wandb or ./mine.py:Mine; may be repeated"
  sub.add_argument("--writer", action="append", default=[], metavar="NAME", help=text)


def _of_claims(add) -> None:
  sub = add("reproduce", "turn claims into verdicts", workdir=True, jobs=True)
  sub.add_argument("claims", nargs="*", metavar="ID|GROUP|my_claim.py", help="default: all")
  sub.add_argument("--tier", choices=TIERS, metavar="tier", default="quick", help="exact, quick, small, long or gpu")
  sub.add_argument("--dry_run", action="store_true", help="print what would run; run nothing")
  sub = add("replicate", "judge claims again with seeds never used", workdir=True, jobs=True)
  sub.add_argument("claims", nargs="*", metavar="ID|GROUP", help="default: all that have a row from trained models")
  sub.add_argument(
    "--tier", choices=TIERS, metavar="tier", default="small", help="rows up to this tier (default small)"
  )
  sub.add_argument("--first_seed", type=positive, default=500, help="tuning seeds begin here (default 500)")
  sub.add_argument("--draw", type=positive, default=None, metavar="N", help="only N of them, drawn by lot")
  sub.add_argument("--draw_seed", type=integer, default=0, help="the lot's seed (default 0)")
  sub = add("calibrate", "try the protocol on arms of which the truth is known", workdir=True, jobs=True)
  text = "comparisons of equal arms, and a third as many of each handicap, 334 at most (default 1000)"
  sub.add_argument("--comparisons", type=positive, default=1000, metavar="N", help=text)
  sub = add("ledger", "merge a workdir's rows into the committed ledger, check, prove or render it")
  sub.add_argument("action", choices=("merge", "check", "prove", "render"), metavar="action")
  sub.add_argument("names", nargs="*", metavar="WORKDIR|ID", help="with merge: the workdir; with prove: which claims")
  sub.add_argument("--release", action="store_true", help="with check: stale rows are an error")
  sub.add_argument("--since", default="", metavar="COMMIT", help="with prove: the commit that made the rows")
  sub.add_argument("--replay", action="store_true", help="with prove: where programs differ, compare a run per arm")


def _of_results(add) -> None:
  sub = add("runs", "list stored trials: config keys that differ, status, measures")
  sub.add_argument("workdirs", nargs="*", metavar="WORKDIR", help="default: all under ./assay-results")
  sub.add_argument("--where", default="", metavar="CONDITION", help='such as "model.heads>=4 and status=done"')
  sub.add_argument("--csv", action="store_true", help="CSV on stdout, with every measure")
  sub = add("report", "write the report of a workdir again")
  sub.add_argument("workdir")
  sub = add("check", "verify every file of a workdir: what is damaged, missing, foreign or left over")
  sub.add_argument("workdir")
  sub.add_argument("--repair", action="store_true", help="move what is damaged aside, so that it runs again")
  sub = add("explain", "what a claim says, how it is tested and what came out; or what a kind, a probe, a measure is")
  sub.add_argument("id", metavar="ID|GROUP|my_claim.py|KIND")


def _of_this_machine(add) -> None:
  sub = add("bench", "measure time and memory side by side, each in fresh processes", workdir=True)
  sub.add_argument("name", nargs="?", metavar="NAME", help="a file of experiments/bench, or all")
  _bench(sub)
  add("doctor", "check this machine: versions, devices, data, cache, disk")


def _bench(sub: argparse.ArgumentParser) -> None:
  """Flags of benches; what is not given is absent, and a bench refuses what it does not take."""
  texts = {
    "mechanisms": "such as dot,banded:window=256 (default: all on disk)",
    "lengths": "such as 512,1024,2048",
    "rule": "causal or everything",
  }
  for name, text in texts.items():
    sub.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text)
  for name in ("processes", "repeats", "batch", "heads", "head_dim"):
    sub.add_argument(f"--{name}", type=positive, default=argparse.SUPPRESS, metavar="N")
  sub.add_argument("--limit", type=real, default=argparse.SUPPRESS, help="GiB of memory above which nothing is run")


def _of_your_own(add) -> None:
  sub = add("new", "write the first file of a new mechanism, position, task, card or claim")
  sub.add_argument("what", choices=("mechanism", "position", "task", "card", "claim"), metavar="what")
  sub.add_argument("name", metavar="NAME")
  sub.add_argument("--here", action="store_true", help="into the current folder, not into this repository")
  sub = add("test", "try what every mechanism, position, cell or task keeps to on a class of yours")
  sub.add_argument("kind", metavar="path/mine.py:Mine", help="a file and the class in it")


# ---------------------------------------------------------------------------------------------------------------------
# Types of flags


def integer(text: str) -> int:
  """Argparse type: a whole number."""
  try:
    return values.parse(text, "int")
  except ValueError as error:
    raise argparse.ArgumentTypeError(f"{text!r} is no whole number; {error}") from None


def positive(text: str) -> int:
  """Argparse type: a whole number of at least 1."""
  try:
    value = values.parse(text, "int")
  except ValueError:
    value = 0
  if value < 1:
    raise argparse.ArgumentTypeError(f"{text!r} is not a positive integer of at most {values.INT_LIMIT}")
  return value


def seeds(text: str) -> int:
  """Argparse type: a number of seeds."""
  value = positive(text)
  if value > MOST_SEEDS:
    raise argparse.ArgumentTypeError(f"{text!r} are more seeds than anybody runs; allowed: 1 to {MOST_SEEDS}")
  return value


def real(text: str) -> float:
  """Argparse type: a finite number of at least 0, which float32 holds."""
  try:
    value = values.parse(text, "float")
  except ValueError:
    value = -1.0
  if value < 0:
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of float32 of at least 0")
  return value


if __name__ == "__main__":
  entry()
