"""For all tests."""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # before torch: its threads must not spin beside other programs
os.environ["LATENTCAST_CALIBRATION"] = (
    "skip"  # services under test neither measure nor leave anything in the user's cache
)
