"""YAML text, file or folder -> experiments, or problems that name the file, the line and the field.

yaml_source   text -> tree; refuses what YAML readers disagree on
tree          values that remember their lines
reader        file or folder -> Loaded: experiments, problems, warnings
wording       a validation error -> the field and a sentence that says what would be right
advice        what is allowed but seldom meant

It only reads: what is in force is decided by the supervisor and stored in the event log.
"""

from bandit.experiment_file.reader import Loaded, Problem, load, parse

__all__ = ["Loaded", "Problem", "load", "parse"]
