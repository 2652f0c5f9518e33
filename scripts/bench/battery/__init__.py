"""The quality battery: worlds to run bandits in, peers, and what they earn there."""

import os

# Set before numpy is first imported: a job is one core's work, and the matrices are too small for threads.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
