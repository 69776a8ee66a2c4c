"""What `qgis --code` runs: hands over to the driver once QGIS is up. Runs in QGIS's Python."""

import json
import os
import sys

with open(os.environ["SKYSENSE_DEMO"], encoding="utf-8") as file:
    plan = json.load(file)
sys.path.insert(0, plan["code"])

import driver

driver.start(plan)
