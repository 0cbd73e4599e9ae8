"""A user's file can neither end, hold up, answer for nor alter the command that reads it."""

import os
import signal
import sys
import threading
import time
import warnings

import pytest

from configs import Refused, base, override, userfile


@pytest.fixture
def read(tmp_path):
  """Runs a text as a user's file."""

  def run(text: str):
    path = tmp_path / "mine.py"
    path.write_text(text)
    return userfile.run(path, "user_file_of_a_test", "mine.py")

  yield run
  sys.modules.pop("user_file_of_a_test", None)


@pytest.mark.parametrize(
  ("text", "said"),
  [
    ("x = 1\nimport sys\nsys.exit(3)", "mine.py:3: it ends the program (sys.exit) with 3"),
    ("raise SystemExit", "mine.py:1: it ends the program"),
    ("import os\nos._exit(0)", "mine.py:2: it ends the program"),
    ("\nraise KeyboardInterrupt", "mine.py:2: KeyboardInterrupt"),
    ("def f():\n  1 / 0\nf()", "mine.py:2: ZeroDivisionError"),
    ("x = (", "mine.py:1: SyntaxError"),
    ("x = '\0'", "mine.py"),
    ("import no_such_module_at_all", "mine.py:1: ModuleNotFoundError"),
    ("def f():\n  f()\nf()", "mine.py:2: RecursionError"),
    ("class Odd(BaseException): pass\nraise Odd('a\\nb')", "mine.py:2: Odd: a b"),
  ],
)
def test_whatever_ends_a_file_is_one_line_with_its_place(read, text, said):
  with pytest.raises(Refused) as refused:
    read(text)
  assert said in str(refused.value)
  assert "\n" not in str(refused.value)
  assert "user_file_of_a_test" not in sys.modules


def test_the_time_a_library_takes_to_import_is_not_the_files(read, monkeypatch, tmp_path):
  package = tmp_path / "site-packages" / "slow_library"
  package.mkdir(parents=True)
  spin = "import time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass\nwhole = True\n"
  (package / "__init__.py").write_text(spin)
  monkeypatch.syspath_prepend(str(package.parent))
  monkeypatch.setattr(userfile, "SECONDS", 0.2)
  assert read("import slow_library").slow_library.whole
  with pytest.raises(Refused, match="took longer than"):
    read("import slow_library\nwhile True: pass")


@pytest.mark.parametrize(
  "text", ["while True: pass", "import time\ntime.sleep(60)", "try:\n  while True: pass\nexcept Exception: pass"]
)
def test_a_file_that_never_ends_is_ended(read, monkeypatch, text):
  monkeypatch.setattr(userfile, "SECONDS", 0.2)
  with pytest.raises(Refused, match=r"mine.py:\d: took longer than"):
    read(text)
  assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_also_outside_of_the_main_thread(read, monkeypatch):
  monkeypatch.setattr(userfile, "SECONDS", 0.2)
  told = []

  def ask(text):
    try:
      told.append(read(text).x)
    except Refused as refusal:
      told.append(str(refusal))

  for text in ("x = 3", "1 / 0", "import time\ntime.sleep(2)"):
    thread = threading.Thread(target=ask, args=(text,))
    thread.start()
    thread.join()
  assert told[0] == 3
  assert "mine.py:1: ZeroDivisionError" in told[1]
  assert "took longer" in told[2]


def test_a_ctrl_c_of_the_person_is_not_taken_for_the_files(read):
  with pytest.raises(KeyboardInterrupt):
    read("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nimport time\ntime.sleep(5)")
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


class Ended(BaseException):
  """What a command's own handler raises."""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_nor_is_a_signal_that_the_command_answers(read, number):
  def end(*_):
    raise Ended

  before = signal.signal(number, end)
  try:
    with pytest.raises(Ended):
      read(f"import os\nos.kill(os.getpid(), {int(number)})\nimport time\ntime.sleep(5)")
    assert signal.getsignal(number) is end
  finally:
    signal.signal(number, before)


def test_what_it_prints_goes_to_stderr_by_every_way(read, capfd):
  print("before")
  ways = ("print('one')", "os.write(1, b'two')", "subprocess.run(['echo', 'three'])", "sys.stdout.write('four')")
  read("import os, subprocess, sys\n" + "\n".join(ways))
  print("after")
  out, err = capfd.readouterr()
  assert out == "before\nafter\n"
  assert all(word in err for word in ("one", "two", "three", "four"))


def test_what_it_leaves_behind_is_put_back(read, tmp_path):
  here, filters, leave = os.getcwd(), list(warnings.filters), os._exit
  ways = (f"os.chdir({str(tmp_path)!r})", "warnings.simplefilter('error')", "signal.signal(2, signal.SIG_IGN)")
  read("import os, signal, warnings\n" + "\n".join(ways))
  assert (os.getcwd(), warnings.filters, os._exit) == (here, filters, leave)
  assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize(
  ("text", "name"),
  [
    ("from model import schema\nschema.OPTIONS = {}", "model.schema.OPTIONS"),
    ("import configs\nconfigs.Refused.__init__ = lambda *a: None", "configs.Refused.__init__"),
    ("from configs import base\nbase.get_config = None\nraise ValueError", "ValueError"),
  ],
)
def test_a_file_that_alters_ours_is_refused_and_undone(read, text, name):
  held = override.check, base.get_config, Refused.__init__
  with pytest.raises(Refused, match=name):
    read(text)
  assert (override.check, base.get_config, Refused.__init__) == held
  assert read("x = 1").x == 1


def test_cards_are_read_the_same_way(tmp_path, capfd):
  card = tmp_path / "card.py"
  start = "from configs import base\nprint('hello')\n"
  card.write_text(start + "def get_config(): return base.get_config()")
  assert override.load(str(card)).model.heads == 4
  for text, said in (
    ("def get_config(): raise SystemExit(0)", "ends the program"),
    ("def get_config():\n  one = {}\n  for _ in range(5000): one = {'a': one}\n  return one", "nests more than"),
    ("def get_config():\n  one = {}\n  one['a'] = one\n  return one", "nests more than"),
  ):
    card.write_text(start + text)
    time.sleep(0.01)
    with pytest.raises(Refused, match=said):
      override.load(str(card))
  assert capfd.readouterr().out == ""


@pytest.mark.parametrize("depth", [50, 900, 100_000])
@pytest.mark.parametrize(("left", "right"), [('{"a":', "}"), ("[", "]"), ('{"model":{"a":', "}}")])
def test_a_deep_json_is_one_line(tmp_path, depth, left, right):
  path = tmp_path / "deep.json"
  path.write_text(left * depth + "1" + right * depth)
  with pytest.raises(Refused) as refused:
    override.load(str(path))
  assert "deep.json" in str(refused.value)
  assert "\n" not in str(refused.value)
