"""Policies: what is learned, and how it explores.

A preset (`presets`) pairs a regression oracle with an exploration rule of `bandit.core.exploration`. `model`
makes, loads and saves what an experiment's definition asks for. Only `vw/` knows Vowpal Wabbit.
"""
