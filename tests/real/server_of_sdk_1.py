"""A server on version 1 of the SDK, which speaks the `initialize` handshake alone.

Over stdio, or over Streamable HTTP on the port that is its argument.
"""

import sys

from mcp.server.fastmcp import Context, FastMCP, Image

server = FastMCP("first", instructions="Made with version 1.")

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108040000"
    "00b51c0c020000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082"
)


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Counts, and reports its progress."""
    for number in range(1, to + 1):
        await ctx.report_progress(number, to, f"at {number}")
    return f"counted to {to}"


@server.tool()
def picture() -> Image:
    """Draws one pixel."""
    return Image(data=PNG, format="png")


@server.tool()
def fail() -> None:
    """Fails."""
    raise ValueError("as it was told")


if len(sys.argv) > 1:
    server.settings.port = int(sys.argv[1])
    server.settings.log_level = "ERROR"
    server.run("streamable-http")
else:
    server.run()
