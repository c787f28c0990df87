"""A register in a Valkey or Redis server: entries by their ids, with a version and a log."""

import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from authz.adapters.store.answers import parse_changes, parse_listing, parse_version
from authz.adapters.store.connection import LARGE_BYTES, SMALL_BYTES, Command
from authz.adapters.store.store import Change, Listing, Version

MAX_ENTRIES: Final = 100_000
MAX_CHANGES: Final = 10_000  # that are kept for the history


class ScriptCall(msgspec.Struct, frozen=True):
    """A call of a script.

    Attributes:
        is_kept: whether it counts only when as many replicas have it as the settings say.
        is_in_check: whether a check waits for it.
        max_bytes: of the answer.
    """

    name: str
    keys: Sequence[str]
    arguments: Command = ()
    is_kept: bool = False
    is_in_check: bool = False
    max_bytes: int = SMALL_BYTES


class EngineRegister:
    """The register of a name; what runs its scripts, and hears of changes, is the store's."""

    def __init__(
        self,
        name: str,
        run: Callable[[ScriptCall, float], list[Any]],
        key: Callable[[str], str],
        channel: str,
        watch: Callable[[Callable[[], None]], None],
    ) -> None:
        """Take the name, what runs a script within seconds, what makes a key, and the channel."""
        self._run_script = run
        # The hash of epoch and number, the entries, the stream of changes.
        self._register_keys = key(f"{name}:meta"), key(name), key(f"{name}:log")
        self._told = channel
        self._watch = watch

    def version(self, seconds: float) -> Version:
        """Return the version in force."""
        return parse_version(
            self._run_script(ScriptCall("version", self._register_keys[:1]), seconds)
        )

    def entries(self, seconds: float) -> Listing:
        """Return all entries, as of one version."""
        call = ScriptCall("entries", self._register_keys[:2], max_bytes=LARGE_BYTES)
        return parse_listing(self._run_script(call, seconds))

    def add(self, entries: Mapping[str, bytes], by: str, seconds: float) -> Version:
        """Add entries that are not there yet."""
        parts: list[bytes | str] = [part for entry in entries.items() for part in entry]
        head: Command = secrets.token_hex(8), self._told, MAX_ENTRIES, MAX_CHANGES, by
        keys = self._register_keys
        return parse_version(
            self._run_script(ScriptCall("add", keys, (*head, *parts), is_kept=True), seconds)
        )

    def take_back(self, ids: Collection[str], by: str, note: str, seconds: float) -> Listing:
        """Remove entries, and return those that stay."""
        keys = self._register_keys
        arguments: Command = (self._told, MAX_CHANGES, by, note, *ids)
        call = ScriptCall("take_back", keys, arguments, is_kept=True, max_bytes=LARGE_BYTES)
        return parse_listing(self._run_script(call, seconds))

    def changes(self, most: int, seconds: float) -> Sequence[Change]:
        """Return the last changes, the newest first."""
        if not most:
            return ()  # the engine would answer with nothing at all
        call = ScriptCall("changes", self._register_keys[2:], (most,), max_bytes=LARGE_BYTES)
        return parse_changes(self._run_script(call, seconds))

    def watch(self, wake: Callable[[], None]) -> None:
        """Have ``wake`` called soon after each change."""
        self._watch(wake)
