"""The application that pyvoy imports; its options are in the environment."""

import os

from fleet import Fleet
from provider import application

app = application(
    Fleet(
        int(os.environ["PROVIDER_MACHINES"]),
        float(os.environ["PROVIDER_LATENCY"]),
        os.environ["PROVIDER_DEFECT"],
    )
)
