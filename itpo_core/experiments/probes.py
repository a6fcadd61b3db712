"""Questions that no learning curve answers, by name: each makes its rows for one seed."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from itpo_core.experiments.probe_critic import critic_probe
from itpo_core.experiments.probe_ranking import Row, ranking_probe
from itpo_core.experiments.probe_stability import stability_probe

PROBES: Mapping[str, Callable[..., list[Row]]] = MappingProxyType(
    {"ranking": ranking_probe, "stability": stability_probe, "critic": critic_probe}
)
