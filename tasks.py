"""The front door: assembles the namespaces, nothing else."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "scripts"))

from threezone.tasks import collection

namespace = collection()
