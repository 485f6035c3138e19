"""Reads everything and never says a word; counts its starts in the file that is its argument."""

import sys

if len(sys.argv) > 1:
    with open(sys.argv[1], "a") as starts:
        starts.write("start\n")
for _ in sys.stdin:
    pass
