"""Print the JSON Schema of a task's `--json` output; without a task, those of all by their tasks."""

import json
import sys

from threezone.tasks.outputs import TYPES, schema

wanted = sys.argv[1:2]
if wanted and wanted[0] not in TYPES:
    sys.exit(f"{wanted[0]} has no --json; these have: {', '.join(sorted(TYPES))}")
made = schema(wanted[0]) if wanted else {task: schema(task) for task in TYPES}
sys.stdout.write(json.dumps(made, indent=2) + "\n")
