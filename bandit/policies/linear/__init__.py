"""Second-order linear regression in NumPy: a ridge regression a variant, exact after every event.

`dimensions` turns what is read of a context into a vector, `ridge` learns and predicts, `oracle` is both of
them with their file.
"""
