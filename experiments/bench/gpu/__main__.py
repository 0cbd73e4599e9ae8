"""`python -m experiments.bench.gpu OUT`."""

import sys

from experiments.bench.gpu import drive

if __name__ == "__main__":
  sys.exit(drive.main(sys.argv[1:]))
