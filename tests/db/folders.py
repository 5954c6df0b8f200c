"""Folders in which a test may start a PostgreSQL of its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


class open_folder:
    """A temporary folder whose parents are open to every user (pytest's own are closed, which moves the data away)."""

    def __enter__(self) -> Path:
        self.path = Path(tempfile.mkdtemp(prefix="jobsync-test-"))
        self.path.chmod(0o755)
        return self.path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.path)
