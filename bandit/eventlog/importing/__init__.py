"""Logs from elsewhere -> a new event log in an empty data folder: all of it or nothing.

- `aside`: where a new log is made, and how it comes to its place
- `files`: which format a file is of, and how it becomes a log
- `joined`, `jsonl`: the rows of a log from joined events, and from the lines of a log's own export
- `spool`: more records than fit in memory, in order of time
- `seeding`: a historic log as the beginning of a new experiment's; `history` reads it, `fitting` holds it to
  the definition
- `bulk`: rows into a new database
"""

from bandit.eventlog.importing.files import BadImport as BadImport
from bandit.eventlog.importing.files import Imported as Imported
from bandit.eventlog.importing.files import Options as Options
from bandit.eventlog.importing.files import guess as guess
from bandit.eventlog.importing.files import import_log as import_log
