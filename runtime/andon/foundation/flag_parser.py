"""An argument parser that knows its flags.

It is used to suggest the right name for a misspelt flag, and to distinguish flags with a value from flags without. Argparse has
no public list of a parser's flags. It documents that `add_argument` returns the action with its `option_strings` and `nargs`.
Therefore this parser keeps all actions.
"""

import argparse
from typing import Any, NoReturn

from andon.foundation.errors import ConfigError


class FlagParser(argparse.ArgumentParser):
    """An `ArgumentParser` that keeps its actions. It raises `ConfigError` where argparse would end the process."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self.actions: list[argparse.Action] = []
        """All arguments and flags in the order of their addition, including those in groups."""
        super().__init__(*args, **options)

    @property
    def flags(self) -> dict[str, argparse.Action]:
        """The action of each flag, such as ``--seed`` or ``-v``."""
        return {flag: action for action in self.actions for flag in action.option_strings}

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:
        """Add an argument and keep it."""
        return self._kept(super().add_argument(*names, **options))

    def add_argument_group(self, *args: Any, **options: Any) -> Any:
        """Add a group. Its arguments are kept, too."""
        return self._keeping(super().add_argument_group(*args, **options))

    def add_mutually_exclusive_group(self, **options: Any) -> Any:
        """Add a mutually exclusive group. Its arguments are kept, too."""
        return self._keeping(super().add_mutually_exclusive_group(**options))

    def error(self, message: str) -> NoReturn:
        """Raise the parser's message as an error.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(message)

    def _kept(self, action: argparse.Action) -> argparse.Action:
        self.actions.append(action)
        return action

    def _keeping(self, group: Any) -> Any:
        """Change a group so that all arguments added to it, or to groups within it, are kept. Return the group."""
        add, add_exclusive = group.add_argument, group.add_mutually_exclusive_group
        group.add_argument = lambda *names, **options: self._kept(add(*names, **options))
        group.add_mutually_exclusive_group = lambda **options: self._keeping(add_exclusive(**options))
        return group
