"""python -m bandit is banditd."""

from bandit.cli.main import main

main()
