"""python -m threezone: the same program as `threezone`."""

from threezone.tasks.program import main

main()
