"""Make the environment that ./run starts things in. Standard library only: nothing is installed yet.

Called as `bootstrap.py ENV LOCK`. Under an exclusive lock (released by the kernel when its holder dies), an
environment without its `complete` mark is removed and made anew, so that two at once and a killed one both end well.
The text below stays readable for old interpreters, so that they reach the sentence which says what is needed.
"""

import os
import shutil
import subprocess
import sys
import time

NEEDED = (3, 11)


def say(text):
    sys.stderr.write("threezone: " + text + "\n")
    sys.stderr.flush()


def usable_python():
    """The interpreter to build on: this one, or the first newer `python3.N` on PATH. None when there is none."""
    if sys.version_info >= NEEDED:
        return sys.executable
    for minor in range(20, NEEDED[1] - 1, -1):
        found = shutil.which("python3.%d" % minor)
        if found and subprocess.call([found, "-c", ""]) == 0:
            return found
    return None


def is_complete(env, lock):
    try:
        with open(os.path.join(env, "complete"), "rb") as mark, open(lock, "rb") as wanted:
            return mark.read() == wanted.read() and os.access(os.path.join(env, "bin", "python"), os.X_OK)
    except OSError:
        return False


def install(python, env, lock):
    """Fill `env` with exactly what `lock` lists, every file checked against its hash."""
    target = os.path.join(env, "bin", "python")
    uv = shutil.which("uv")
    if uv:
        commands = [
            [uv, "venv", "--quiet", "--python", python, env],
            [uv, "pip", "install", "--quiet", "--python", target, "--require-hashes", "-r", lock],
        ]
    else:
        commands = [
            [python, "-m", "venv", env],
            [target, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps",
             "--require-hashes", "-r", lock],
        ]
    for command in commands:
        code = subprocess.call(command, stdout=sys.stderr)
        if code != 0:
            say("this failed with exit code %d: %s" % (code, " ".join(command)))
            if "venv" in command[1:3] and not uv:
                say("on Debian and Ubuntu the module is a package of its own: apt-get install python3-venv")
            return 1
    return 0


def main(env, lock):
    python = usable_python()
    if python is None:
        say("error: Python %d.%d or newer is needed, and %s is %d.%d.%d. Install one (for example `uv python install "
            "3.13`, or your system's python3.13 package) and run this again." % (NEEDED + (sys.executable,)
                                                                                + tuple(sys.version_info[:3])))
        return 2
    import fcntl

    if not os.path.isdir(os.path.dirname(env)):
        os.makedirs(os.path.dirname(env))
    with open(env + ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say("another ./run is making the environment; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        if is_complete(env, lock):
            return 0
        started = time.time()
        say("first use: making the environment in %s from %s" % (env, os.path.basename(lock)))
        shutil.rmtree(env, ignore_errors=True)
        code = install(python, env, lock)
        if code:
            return code
        temporary = os.path.join(env, "complete.new")
        shutil.copyfile(lock, temporary)
        os.rename(temporary, os.path.join(env, "complete"))
        say("the environment is ready (%.0f s)" % (time.time() - started))
        return 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1], sys.argv[2]))
    except KeyboardInterrupt:
        say("interrupted; the next ./run starts over")
        sys.exit(130)
