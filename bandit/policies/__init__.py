"""Policies: what is learned, and how it explores.

A preset (`presets`) pairs a regression oracle with an exploration rule of `bandit.core.exploration`. `model`
makes, loads and saves what an experiment's definition asks for. Contexts go one way: `learner` asks `reading`
what they say, and hands that to the oracles of `linear/` and of `vw/`, which alone knows Vowpal Wabbit.
"""
