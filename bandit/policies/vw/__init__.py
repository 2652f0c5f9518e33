"""The only room that knows Vowpal Wabbit: a regression that predicts a reward a variant.

`encoding` writes its text, `scaling` keeps numbers comparable, `options` says which arguments may be given,
`workspace` makes every call, `model_file` reads what it stores; `oracle` is all of that as one thing that
predicts and learns, and `policy` and `learner` are its two faces.
"""
