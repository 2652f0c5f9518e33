"""From the log to snapshots: the folds that learn, each with its own position in the joined order."""
