"""The only room that knows Vowpal Wabbit: a regression that predicts a reward a variant.

`encoding` writes its text, `options` says which arguments may be given, `workspace` makes every call,
`model_file` reads what it stores, and `stored` holds that until it is asked; `oracle` is all of that as one
thing that predicts and learns. `text` writes a log for Vowpal Wabbit's own driver.
"""
