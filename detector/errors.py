"""Every error bucketwatch raises on purpose: what went wrong, where, and what to do about it.

    BucketwatchError            exit 1: the program (or what it depends on) failed
    ├── InputError              exit 2: the user's input is wrong: arguments, rule file, config, path
    │   ├── RuleFileError       every problem of a rule file at once, each with file:line:col
    │   ├── SettingsError       every problem of a config file at once
    │   └── UnreadablePathError      a path that cannot be read or is no known log
    ├── StateError              a checkpoint that is damaged, of another version, or held by somebody else
    │   └── LeaseLostError      this daemon may not be the only one any more: it has to stop
    └── EdgeError               an AWS service or a local file refused; says whether trying again can help

A caller may show `str(error)` to a person as it is; it never contains a secret or unescaped log content.
"""

from __future__ import annotations

from dataclasses import dataclass


class BucketwatchError(Exception):
    """What failed (`what`), where (`where`, may be empty) and what the reader can do (`remedy`, may be empty)."""

    exit_code = 1

    def __init__(self, what: str, *, where: str = "", remedy: str = "") -> None:
        self.what, self.where, self.remedy = what, where, remedy
        super().__init__(what)

    def __str__(self) -> str:
        head = f"{self.where}: {self.what}" if self.where else self.what
        return f"{head}\n  {self.remedy}" if self.remedy else head


class InputError(BucketwatchError):
    """The user's input is wrong."""

    exit_code = 2


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One mistake in a file a person wrote. Lines and columns count from 1; 0 means unknown."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class _ProblemsError(InputError):
    """All problems of one or more files."""

    noun = "file"

    def __init__(self, problems: list[Problem], *, remedy: str = "") -> None:
        self.problems = sorted(problems)
        count = len(self.problems)
        told = (
            f"{count} problems in the {self.noun}: mend them"
            if count != 1
            else f"1 problem in the {self.noun}: mend it"
        )
        super().__init__("\n".join(str(p) for p in self.problems), remedy=remedy or f"{told} and run again")


class RuleFileError(_ProblemsError):
    """All mistakes of the rule files that were read."""

    noun = "rules"


class SettingsError(_ProblemsError):
    """All mistakes of the daemon's configuration."""

    noun = "config"


class UnreadablePathError(InputError):
    """A path that does not exist, cannot be read, or was named outright and is no known log."""

    @classmethod
    def of_config(cls, path: object, error: OSError | UnicodeDecodeError) -> UnreadablePathError:
        """A config file whose text cannot be had."""
        what = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        return cls(f"cannot be read: {what}", where=str(path), remedy="name a config file with --config")


class StateError(BucketwatchError):
    """A checkpoint that cannot be used: damaged, written by another version, or owned by another daemon."""


class LeaseLostError(StateError):
    """Another daemon may be at work: whoever gets this must not save, publish, respond or acknowledge any more."""


class EdgeError(BucketwatchError):
    """A service or a file at the edge refused. `retryable`: whether the same call may succeed later."""

    def __init__(self, what: str, *, where: str = "", remedy: str = "", retryable: bool = False) -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.retryable = retryable
