"""Ignores the end of its input and SIGTERM, and so do its child and its grandchild.

Arguments: the port to hold, and what the grandchild does: `group` stays in the process group,
`session` leaves it. Each of the three holds a connection of its own.
"""

import os
import signal
import subprocess
import sys
import threading

from base import answer, hold, serve, text, tool

PORT, KIND, DEPTH = sys.argv[1], sys.argv[2], int(sys.argv[3]) if len(sys.argv) > 3 else 0
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGHUP, signal.SIG_IGN)
connection = hold(PORT)
if DEPTH < 2:
    subprocess.Popen(
        [sys.executable, __file__, PORT, KIND, str(DEPTH + 1)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        start_new_session=KIND == "session" and DEPTH == 1,
    )
if DEPTH == 0:
    replies = {"hello": "hello", "pid": str(os.getpid())}
    serve([tool(name) for name in replies], lambda request: answer(request, text(replies[request["params"]["name"]])))
threading.Event().wait()
