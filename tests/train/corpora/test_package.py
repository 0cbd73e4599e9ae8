import hashlib
import sys

import pytest

from model.errors import Refused
from train.corpora import package


def install(tmp_path, monkeypatch, name="pretend_data"):
  folder = tmp_path / name
  (folder / "data").mkdir(parents=True)
  (folder / "__init__.py").write_text("raise SystemExit('its code must not run')")
  monkeypatch.syspath_prepend(str(tmp_path))
  return folder


def test_a_package_is_found_without_running_its_code(tmp_path, monkeypatch):
  folder = install(tmp_path, monkeypatch)
  assert package.find("pretend_data") == folder
  assert "pretend_data" not in sys.modules


@pytest.mark.parametrize("name", ["no_such_data_package", "json.tool", "../data", "this"])
def test_missing_and_odd_packages_are_refused(name):
  with pytest.raises(Refused, match=r"make data|top-level"):
    package.find(name)


def test_only_the_expected_content_is_read(tmp_path, monkeypatch):
  folder = install(tmp_path, monkeypatch)
  path = folder / "data" / "words.txt"
  good = hashlib.sha256(b"a").hexdigest()
  with pytest.raises(Refused, match=r"words.txt of package 'pretend_data' cannot be read; run `make data`"):
    package.verified(path, good)
  path.write_bytes(b"a")
  assert package.verified(path, good) == b"a"
  path.write_bytes(b"b")
  with pytest.raises(Refused) as told:
    package.verified(path, good)
  assert hashlib.sha256(b"b").hexdigest()[:12] in str(told.value)
  assert good[:12] in str(told.value)
  assert good not in str(told.value)
