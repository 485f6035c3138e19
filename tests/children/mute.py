"""Reads everything and never says a word; counts its starts in the file that is its argument."""

import sys
from pathlib import Path

if len(sys.argv) > 1:
    with Path(sys.argv[1]).open("a") as starts:
        starts.write("start\n")
for _ in sys.stdin:
    pass
