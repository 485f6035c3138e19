"""Takes its first argument in seconds to start; counts its starts in the file that is its second."""

import sys
import time
from pathlib import Path

from base import answer, serve, text, tool

with Path(sys.argv[2]).open("a") as starts:
    starts.write("start\n")
time.sleep(float(sys.argv[1]))
serve([tool("late")], lambda request: answer(request, text("better late")))
