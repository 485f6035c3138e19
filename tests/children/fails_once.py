"""Dies in its first run, and is well in later ones; the argument is the file to remember by."""

import sys
from pathlib import Path

from base import answer, serve, text, tool

mark = Path(sys.argv[1])
if not mark.exists():
    mark.touch()
    sys.exit("not yet")
serve([tool("hello")], lambda request: answer(request, text("hello")))
