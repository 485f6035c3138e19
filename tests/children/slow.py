"""Takes its first argument in seconds to start; counts its starts in the file that is its second."""

import sys
import time

from base import answer, serve, text, tool

with open(sys.argv[2], "a") as starts:
    starts.write("start\n")
time.sleep(float(sys.argv[1]))
serve([tool("late")], lambda request: answer(request, text("better late")))
