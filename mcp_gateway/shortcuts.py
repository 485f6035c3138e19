"""What `npx` and `uvx` are told to run, and what they ended up running; takes values and gives values.

A launcher looks its package up at each start and stays beside the server as a process of its own. What it ran
can be started without it, as long as the entry says the same and the program is still the version that it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mcp_gateway.caller import as_dict

_PREFIXES: Mapping[tuple[str, ...], Literal["npx", "uvx"]] = {
    ("npx",): "npx",
    ("npm", "exec"): "npx",
    ("npm", "x"): "npx",
    ("uvx",): "uvx",
    ("uv", "tool", "run"): "uvx",
}
_FLAGS = {
    "npx": {"-y", "--yes", "-q", "--quiet", "-s", "--silent", "--offline", "--prefer-offline"},
    "uvx": {"-q", "--quiet", "-v", "--verbose", "--offline", "--isolated", "--native-tls", "--no-progress",
            "--no-config", "--no-index", "--managed-python", "--no-managed-python", "--no-python-downloads"},
}  # fmt: skip
_OPTIONS = {
    "npx": {"--registry", "--cache", "--loglevel", "--userconfig"},
    "uvx": {"--with", "-w", "--python", "-p", "--index", "--default-index", "--index-url", "-i", "--extra-index-url",
            "--find-links", "-f", "--index-strategy", "--keyring-provider", "--resolution", "--prerelease",
            "--exclude-newer", "--link-mode", "--cache-dir", "--constraints", "-c", "--overrides", "--color"},
}  # fmt: skip
"""What is understood; who says more than this wants something of each start, and keeps the launcher.

Sources: https://docs.npmjs.com/cli/commands/npx and https://docs.astral.sh/uv/reference/cli
"""
_NAMING = {"npx": {"-p", "--package"}, "uvx": {"--from"}}
"""Options that name the package; the first word is then the program in it."""
_SPEC = {
    "npx": re.compile(r"(?P<name>(?:@[\w.~-]+/)?[\w.~-]+)(?:@(?P<wanted>[^/:]+))?"),
    "uvx": re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)(?:\[[\w,. -]*\])?(?P<wanted>\s*(?:@|[=<>!~]=?).*)?"),
}
"""A package of a registry; a folder, a file or a repository may change under the same name."""
_EXACT = {
    "npx": re.compile(r"[v=]*(\d+\.\d+\.\d+(?:[-+].+)?)"),
    "uvx": re.compile(r"\s*(?:===?|@)\s*(\d[^*,;\s]*)"),
}

PRINT_PATH = {
    "npx": ("node", "-p", "process.env.PATH"),
    "uvx": ("python", "-c", "import os; print(os.environ['PATH'])"),
}
"""A program that says where the launcher has put the package."""


@dataclass(frozen=True)
class Launch:
    """A command that has a launcher start a server.

    Attributes:
        kind: Which launcher it is, under whichever name.
        prefix: Words behind the command that make it that launcher, such as `exec`.
        flags: Options of the launcher, without the one that names the package.
        spec, package, wanted: `name@^1`, the name in it, and the version or range or tag, if any.
        own: Arguments of the program itself.
    """

    kind: Literal["npx", "uvx"]
    prefix: tuple[str, ...]
    flags: tuple[str, ...]
    spec: str
    package: str
    wanted: str
    own: tuple[str, ...]

    @property
    def pinned(self) -> str:
        """The exact version that is wanted; empty where a newer one would do."""
        exact = _EXACT[self.kind].fullmatch(self.wanted)
        return exact[1] if exact else ""

    def asking(self, version: str = "") -> tuple[str, ...]:
        """Arguments by which the launcher makes a version ready, the newest in place of none, and says where it is."""
        if self.kind == "npx":
            wanted = f"--package={self.package}@{version}"
            return (*self.prefix, *self.flags, "--yes", wanted, "--", *PRINT_PATH["npx"])
        spec = self.spec.partition("@")[0].rstrip()
        return (*self.prefix, *self.flags, "--refresh", "--from", spec, *PRINT_PATH["uvx"])


def launch_of(command: str, args: Sequence[str]) -> Launch | None:
    """The launch that a command with these arguments is; None for every other command."""
    words = (Path(command.replace("\\", "/")).name.lower().removesuffix(".cmd").removesuffix(".exe"), *args)
    for names, kind in _PREFIXES.items():
        if words[: len(names)] == names:
            return _parse(kind, words[1 : len(names)], words[len(names) :])
    return None


def _parse(kind: Literal["npx", "uvx"], prefix: tuple[str, ...], words: tuple[str, ...]) -> Launch | None:
    options = _options(kind, words)
    if options is None:
        return None
    named, flags, rest = options
    if len(named) > 1 or not rest:
        return None
    spec = named[0] if named else rest[0]
    match = _SPEC[kind].fullmatch(spec)
    if match is None:
        return None
    return Launch(kind, prefix, flags, spec, match["name"], match["wanted"] or "", rest[1:])


def _options(
    kind: Literal["npx", "uvx"], words: tuple[str, ...]
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]] | None:
    """Packages named by options, the other options, and what follows; None where one is not understood."""
    named: list[str] = []
    flags: list[str] = []
    at = 0
    while at < len(words) and words[at].startswith("-"):
        option, assigned, value = words[at].partition("=")
        taken = 1 if assigned or option in _FLAGS[kind] else 2
        if option == "--":
            return tuple(named), tuple(flags), words[at + 1 :]
        if option in _NAMING[kind]:
            named.append(value if assigned else "".join(words[at + 1 : at + 2]))
        elif option in _FLAGS[kind] | _OPTIONS[kind]:
            flags.extend(words[at : at + taken])
        else:
            return None
        at += taken
    return tuple(named), tuple(flags), words[at:]


@dataclass(frozen=True)
class Shortcut:
    """The program that a launcher ended up running.

    Attributes:
        spec: What the launcher was told, see `Launch`.
        argv: The program, up to the arguments that the entry gives it.
        folder: What the launcher had put in front of `PATH`; empty for nothing.
        version: The package's version; empty where it could not be told.
        looked_at: When a newer version was looked for; seconds since the epoch.
    """

    spec: str
    argv: tuple[str, ...]
    folder: str
    version: str
    looked_at: float

    def as_json(self) -> dict[str, Any]:
        """The same as JSON."""
        return asdict(self)

    def moved(self, folder: str, version: str) -> Shortcut:
        """The same program in another folder."""
        moved = tuple(
            str(Path(folder, Path(word).relative_to(self.folder))) if Path(word).is_relative_to(self.folder) else word
            for word in self.argv
        )
        return replace(self, argv=moved, folder=folder, version=version)


def from_json(value: Mapping[str, Any]) -> Shortcut:
    """What `as_json` gave."""
    return replace(Shortcut(**value), argv=tuple(value["argv"]))


def version_in(folder: str, package: str) -> str:
    """The version of a package whose programs stand in `folder`; empty where it cannot be told."""
    if not folder:
        return ""
    beside = Path(folder).parent
    try:
        manifest = json.loads((beside / package / "package.json").read_bytes())
        return str(as_dict(manifest).get("version") or "")
    except (OSError, ValueError):
        pass
    name = re.sub(r"[-_.]+", "_", package).lower()
    for site in (*beside.glob("lib/python*/site-packages"), beside / "Lib" / "site-packages"):
        for info in site.glob("*.dist-info"):
            distribution, _, version = info.name.removesuffix(".dist-info").rpartition("-")
            if re.sub(r"[-_.]+", "_", distribution).lower() == name:
                return version
    return ""
