"""The command line: the parser. `main` turns every error of ours into one sentence and its exit code."""

from __future__ import annotations

import sys

from jobsync.errors import JobSyncError


def main() -> None:
    """Entry of the command `jobsync`. Exits with the codes of `jobsync --help`."""
    from jobsync.cli.parser import build_app

    try:
        build_app(sys.argv[1:])(prog_name="jobsync")
    except JobSyncError as error:
        _tell(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted; run it again to go on.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    except Exception as error:  # the last line of defence: a sentence, never a traceback
        if "--debug" in sys.argv:
            raise
        print(
            f"jobsync: unexpected error ({type(error).__name__}). This is a bug; run again with --debug to see where.",
            file=sys.stderr,
        )
        sys.exit(1)


def _tell(error: JobSyncError) -> None:
    print(f"jobsync: {error.message}", file=sys.stderr)
    if error.hint:
        print(f"         {error.hint}", file=sys.stderr)
