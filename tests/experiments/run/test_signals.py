"""Signals at the worst moment: amid the import of a library with compiled parts, and in its threads at the end."""

import signal
import subprocess
import sys
import time

import pytest

from tests.experiments.process import ROOT

LIBRARY = """
import pathlib, time
def spin(seconds):
  end = time.monotonic() + seconds
  while time.monotonic() < end:
    pass
here = pathlib.Path(__file__).parent
(here / "begun").touch()
try:
  spin(1.0)
except BaseException as error:  # as the loader of a compiled module does
  raise ImportError("numpy failed to import") from error
(here / "whole").touch()
"""

COMMAND = """
import sys
sys.path[:0] = sys.argv[1:]
from experiments.cli import cli
def answered(argv):
  import library
  import time
  time.sleep(60)
  return 0
cli._answered = answered
cli.entry()
"""


def launched(tmp_path, folder):
  (tmp_path / folder / "library").mkdir(parents=True)
  (tmp_path / folder / "library" / "__init__.py").write_text(LIBRARY)
  paths = [str(tmp_path / folder), str(ROOT)]
  process = subprocess.Popen([sys.executable, "-c", COMMAND, *paths], stderr=subprocess.PIPE, text=True)
  begun = tmp_path / folder / "library" / "begun"
  while not begun.exists() and process.poll() is None:
    time.sleep(0.01)
  return process, begun.with_name("whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_librarys_import_comes_to_its_end_before_the_command_does(tmp_path, number):
  process, whole = launched(tmp_path, "site-packages")
  process.send_signal(number)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 128 + number
  assert whole.exists()
  assert err.splitlines() == [f"assay: stopped by {number.name}; run the same command again to go on"]


def test_a_users_file_is_left_at_any_line(tmp_path):
  process, whole = launched(tmp_path, "mine")
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=60)
  assert not whole.exists()


@pytest.mark.slow
def test_signals_while_jax_is_imported_have_their_code():
  """Spread over the import, where an exception amid a compiled module's first lines was a fault or a crash."""
  command = COMMAND.replace("import library", "import flax.nnx, jax.numpy")
  for step in range(6):
    process = subprocess.Popen([sys.executable, "-c", command, str(ROOT)], stderr=subprocess.PIPE, text=True)
    time.sleep(0.3 + 0.3 * step)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (143, -signal.SIGTERM), err  # Python itself was not there yet
    assert "Error" not in err


SWALLOWING = """
  from experiments.run import signals
  signals.SWALLOWED = 0.3
  try:
    print("begun", flush=True)
    while True:
      pass
  except BaseException:  # as a library may
    pass
"""


def test_a_signal_whose_exception_is_swallowed_comes_again():
  command = [sys.executable, "-c", COMMAND.replace("  import library\n", SWALLOWING), str(ROOT)]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  assert process.stdout is not None
  assert process.stdout.readline() == "begun\n"
  process.send_signal(signal.SIGTERM)
  _, err = process.communicate(timeout=60)
  assert process.returncode == 143
  assert err.splitlines() == ["assay: stopped by SIGTERM; run the same command again to go on"]


def test_threads_of_a_library_do_not_hold_an_interrupted_command():
  endless = "import threading; threading.Thread(target=threading.Event().wait).start(); print('begun', flush=True)"
  command = [sys.executable, "-c", COMMAND.replace("import library", endless), str(ROOT)]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  assert process.stdout is not None
  assert process.stdout.readline() == "begun\n"
  process.send_signal(signal.SIGINT)
  process.communicate(timeout=60)
  assert process.returncode == 130


def test_a_signal_amid_a_finalizer_is_not_lost():
  """What is raised there Python drops; the command would go on."""
  dying = """
class Dying:
  def __del__(self):
    print("begun", flush=True)
    time.sleep(1.0)
import time
one = Dying()
del one"""
  indented = dying.replace("\n", "\n  ")
  command = [sys.executable, "-c", COMMAND.replace("  import library", indented), str(ROOT)]
  process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
  assert process.stdout is not None
  assert process.stdout.readline() == "begun\n"
  process.send_signal(signal.SIGINT)
  _, err = process.communicate(timeout=90)
  assert process.returncode == 130
  assert err.splitlines() == ["assay: stopped by SIGINT; run the same command again to go on"]
