"""The program behind `threezone TASK …` and `./run TASK …`: Invoke's, with our tasks and our answers to mistakes."""

from __future__ import annotations

import difflib
import re
import sys
from collections.abc import Iterable
from pathlib import Path

from invoke import Program
from invoke.exceptions import Exit, ParseError
from invoke.parser import Argument, ParserContext
from invoke.util import helpline

from threezone import __version__
from threezone.core import settings
from threezone.core.errors import UsageError
from threezone.tasks import GROUPS, collection
from threezone.tasks.runtime import INTERRUPTED, fail, is_debugging

_MOST = 3  # suggestions
_OTHERS = "This project's own"
_FORMATS = ("flat", "nested", "json")
# Invoke's other options are for commands that its own runner starts. Our tasks do not use it, and a `--dry` that is
# accepted and changes something would be worse than none.
_OPTIONS = {
    *("complete", "debug", "help", "list", "list-depth", "list-format"),
    *("print-completion-script", "version", "write-pyc"),
}


class Front(Program):
    """Invoke with the tasks of threezone. A mistake on the command line is one sentence, with exit code 2."""

    def core_args(self) -> list[Argument]:
        """The options that may stand before a task."""
        return [each for each in super().core_args() if each.name in _OPTIONS]

    def update_config(self, merge: bool = True) -> None:
        """Do nothing: this configures Invoke's own runner."""

    def run(self, argv: list[str] | None = None, exit: bool = True) -> None:
        """Parse the words and run the tasks. Ends the program after help and lists, and with a failure."""
        try:
            self.create_config()
            self.parse_core(argv)
            self.parse_collection()
            self.parse_tasks()
            self.parse_cleanup()
            self.execute()
        except ParseError as error:
            fail(self._explained(error))
        except Exit as done:
            if done.message:
                fail(UsageError(done.message.rstrip("!"), fix=f"{self.binary} --list"))
            if exit:
                sys.exit(done.code)
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)

    def parse_core_args(self) -> None:
        """Parse the options before a task. A completion script is printed later, when the tasks are known."""
        super().parse_core_args()
        wanted = self.args["print-completion-script"]
        self._shell = str(wanted.value or "")
        wanted.set_value("", cast=False)

    def load_collection(self) -> None:
        """Load the project's tasks.py. Ends the program when that fails."""
        try:
            super().load_collection()
        except (Exit, UsageError):
            raise
        except Exception as error:
            if is_debugging():
                raise
            cause = f"{type(error).__name__}: {error}"
            file = settings.find_root() / "tasks.py"
            fail(UsageError(f"{file} cannot be loaded", evidence=cause, fix=f"correct {file}"))

    def parse_tasks(self) -> None:
        """Parse the tasks and their options. `TASK … --help` asks for the help of the task, whatever stands between."""
        words = self.core.unparsed
        asked = next((at for at, word in enumerate(words) if word in ("--help", "-h")), None)
        tasks = [word for word in words[:asked] if word in self.collection.task_names] if asked else []
        if tasks:
            self.core[0].args["help"].set_value(tasks[-1], cast=False)
            words.clear()
        super().parse_tasks()

    def parse_cleanup(self) -> None:
        """Print help, the list or completions where they are asked for."""
        form = self.args["list-format"].value
        if form not in _FORMATS:
            raise Exit(f"--list-format {form}: expected one of {', '.join(_FORMATS)}")
        if self._shell:
            from threezone.tasks import completion

            if self._shell not in completion.SHELLS:
                shells = ", ".join(sorted(completion.SHELLS))
                fail(
                    UsageError(
                        f"no completion for {self._shell}: expected one of {shells}", fix=f"{self.binary} --help"
                    )
                )
            sys.stdout.write(completion.script(self._shell, self.binary_names[0], self.collection))
            raise Exit
        super().parse_cleanup()

    def list_flat(self) -> None:
        """Print the tasks in groups, by what one wants to do, a line each; --list NAMESPACE prints its tasks."""
        if self.list_depth:
            super().list_flat()
            return
        names = sorted(self.collection.task_names)
        if self.list_root:
            groups = {f"{self.list_root}:": [name for name in names if name.startswith(f"{self.list_root}.")]}
        else:
            spaces = {space: title for title, spaces in GROUPS.items() for space in spaces}
            groups = {title: [] for title in (*GROUPS, _OTHERS)}
            for name in names:
                space, is_ours = name.partition(".")[0], self.collection[name].body.__module__.startswith("threezone.")
                groups[spaces.get(space, next(iter(GROUPS))) if is_ours else _OTHERS].append(name)
            groups = {title: members for title, members in groups.items() if members}
        width = max(map(len, names))
        lines = []
        for title, members in groups.items():
            lines += [title, *(f"  {name:{width}}  {helpline(self.collection[name])}" for name in members), ""]
        sys.stdout.write("\n".join(lines))

    def _explained(self, error: ParseError) -> UsageError:
        """A mistake of the command line in our words, with the nearest names."""
        text = str(error)
        task = error.context.name if error.context and error.context.name else ""
        help_ = f"{self.binary} --help {task}".rstrip()
        if unknown := re.fullmatch(r"No idea what (['\"])(.*)\1 is!", text):
            return self._unknown(unknown[2], error.context or self.initial_context, help_)
        if option := re.search(r"Flag <Argument: ([^ >]+).*needed value", text):
            return UsageError(f"--{option[1]} needs a value", fix=help_)
        if missing := re.search(r"required positional arguments: (.*)", text):
            return UsageError(f"{task} needs a value for {missing[1]}", fix=help_)
        return UsageError(text.rstrip("!"), fix=help_)

    def _unknown(self, word: str, context: ParserContext, help_: str) -> UsageError:
        """What is wrong with a word that Invoke does not know behind the task of `context`."""
        if word.startswith("-"):
            flags = [each for each in difflib.get_close_matches(word, context.flags, _MOST) if each.startswith("--")]
            whose = f"{context.name} has no option {word}" if context.name else f"no option {word} before a task"
            return UsageError(whose, fix=" or ".join(flags) or help_)
        for given in self.argv:
            if given.startswith("--") and given.endswith(f"={word}"):
                return UsageError(f"{given.partition('=')[0]} takes no value", evidence=f"given: {given}", fix=help_)
        fix = " or ".join(f"{self.binary} {each}" for each in near(word, self.collection.task_names))
        return UsageError(f"there is no task {word!r}", fix=fix)


def near(word: str, names: Iterable[str]) -> list[str]:
    """What was probably meant instead of `word`, as arguments; the list of all tasks when nothing is near. Pure."""
    by_last_part = {name.rpartition(".")[2]: name for name in sorted(names, key=lambda name: -name.count("."))}
    if any(name.startswith(f"{word}.") for name in names):
        return [f"--list {word}"]
    same_last_part = [name for name in names if name.endswith(f".{word}")]
    similar = difflib.get_close_matches(word, [*names, *by_last_part], _MOST)
    return same_last_part or list(dict.fromkeys(by_last_part.get(each, each) for each in similar)) or ["--list"]


def main() -> None:
    """Run the program, as `threezone` or as the ./run of this project."""
    root = settings.find_root()
    binary = settings.launcher(root).partition(" ")[0]
    tasks = None if uses_ours(root) else collection()  # None: Invoke finds the tasks.py
    Front(__version__, tasks, "threezone", binary, binary_names=[binary.removeprefix("./")]).run()


def uses_ours(root: Path) -> bool:
    """Whether the project's tasks.py is built on ours: then it may have more tasks. Somebody else's hides ours."""
    try:
        return "threezone" in (root / "tasks.py").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
