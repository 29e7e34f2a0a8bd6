"""Every scenario, in the order of the report."""

from __future__ import annotations

from tests.load.measurement.scenario import Scenario
from tests.load.scenarios.decoding import GENERATION, MIXED, TRANSLATION
from tests.load.scenarios.overload import OVERLOAD
from tests.load.scenarios.precision import GENERATION_FASTER, TAGGER_FASTER
from tests.load.scenarios.state import STATE
from tests.load.scenarios.tagger import ALONE, BOTH_CORES, ONE_CORE, TAIL

_IN_ORDER = (
    *(ONE_CORE, TAGGER_FASTER, BOTH_CORES, ALONE, TAIL),
    *(GENERATION, GENERATION_FASTER, MIXED, TRANSLATION, STATE, OVERLOAD),
)
SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _IN_ORDER}
