"""The pure core: no gRPC, no Vowpal Wabbit, no files, no wall clock, no global random.

Data flows one way: experiment + context + policy -> `choose` -> Decision; decisions + rewards -> `joining` ->
JoinedEvent. Seeds, clocks and ids come in as arguments.
"""
