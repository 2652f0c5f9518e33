"""A limit on everything that comes from outside: one named constant each, its unit last.

A request over a limit is refused as LIMIT_EXCEEDED with the limit and the measured size; see README,
"Limits".
"""

from typing import Final

MESSAGE_BYTES: Final = 4 * 1024 * 1024
BATCH_ITEMS: Final = 1_000
ID_BYTES: Final = 64
SUBJECT_BYTES: Final = 256
CONTEXT_ENTRIES: Final = 1_000
VARIANTS: Final = 1_000
FEATURES_PER_VARIANT: Final = 256
TEXT_BYTES: Final = 1_024
TEXTS_VALUES: Final = 64
CONSENTS: Final = 32
EXCLUDED_VARIANTS: Final = 1_000
PAYLOAD_BYTES: Final = 64 * 1024

CHARACTER_BYTES: Final = 4
TEXT_CHARACTERS_SAFE: Final = TEXT_BYTES // CHARACTER_BYTES
"""Texts of at most so many characters need no encoding, and their field no name, to be known short enough."""

WINDOW_DAYS_MAX: Final = 90

# Of an experiment file. They bound what a definition can cost a server that reads it.
EXPERIMENT_FILE_BYTES: Final = 4 * 1024 * 1024
EXPERIMENT_FILE_VALUES: Final = 500_000
EXPERIMENT_FILE_DEPTH: Final = 64
EXPERIMENTS: Final = 1_000
METRICS: Final = 100
SIGNAL_VALUES: Final = 1_000

REWARD_MAGNITUDE: Final = 1e15
"""Rewards lie within ± this, so that no sum of them overflows a double."""
