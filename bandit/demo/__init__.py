"""Plays a real data set through a running server, customer by customer, and shows what was learned.

`customers` loads the data, `server` runs `banditd serve` as a child process, `player` makes the calls,
`progress` shows how far it is, `estimates` is the statistics, `summary` puts the figures together and `table`
prints them.
"""
