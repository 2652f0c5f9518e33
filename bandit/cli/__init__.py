"""The commands: one module a verb. They convert arguments, call the rooms, print, and set the exit code."""
