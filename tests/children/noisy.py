"""Writes a banner and stray lines on stdout, and a lot on stderr."""

import sys

from base import Message, answer, serve, text, tool

sys.stdout.write("*** Welcome to Noisy 1.0 ***\n{not json}\n[1, 2]\n\n\x1b[32mok\x1b[0m\n")
sys.stdout.flush()


def call(request: Message) -> None:
    sys.stdout.write("debug: called\n")
    for number in range(400):
        sys.stderr.write(f"line {number} of a flood {'x' * 100}\n")
    sys.stderr.write("y" * 10_000)
    sys.stderr.flush()
    answer(request, text("heard"))


serve([tool("shout")], call)
