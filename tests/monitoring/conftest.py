"""Settings of the monitoring tests' process."""

import os

# Threads of scikit-learn that wait for each other on a busy machine make a fit of one second take a minute.
os.environ.setdefault("OMP_NUM_THREADS", "1")
