"""Options of sampling, which `sample` and `calibrate` share, made from the library's option object."""

from __future__ import annotations

from slamjax.cli.groups import Offered, offer
from slamjax.sampling import SamplerSpec

offer(
    SamplerSpec,
    "Sampler",
    {
        "method": Offered(
            "Importance sampling, with NUTS where it falls short (auto), or one method for all stars.",
            flag="sampler",
        ),
        "draws": Offered("Draws per chain."),
        "chains": Offered("Chains per star."),
        "warmup": Offered("Warm-up steps before the draws of a chain (NUTS, HMC)."),
    },
)
