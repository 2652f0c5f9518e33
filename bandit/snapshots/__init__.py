"""Stored models. A snapshot is a cache of a fold: losing one costs only the time to learn it again."""
