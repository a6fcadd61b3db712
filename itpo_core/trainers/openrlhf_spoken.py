"""OpenRLHF's policy and reference without the tokens that our policy never speaks.

What was drawn and what is trained must be one distribution. OpenRLHF's models give a chance to every token;
the engine was told to leave some out, and so does every part of ours. These classes leave them out of the
logits.
A module of its own: the processes of the models import it, and shall not import what generates.
"""

from typing import Any

import openrlhf.trainer.ray.launcher as stock_launcher
import openrlhf.trainer.ray.ppo_actor as stock_actor

from itpo_core.tiny_policy import suppressed_ids
from itpo_core.tokens import suppress

# Ray keeps a class only inside the actor class that it makes of it.
StockPolicy = stock_actor.PolicyModelActor.__ray_metadata__.modified_class
StockReference = stock_launcher.ReferenceModelActor.__ray_metadata__.modified_class


class SpokenPolicy(StockPolicy):
    """The policy that is trained; its signature is OpenRLHF's to choose, so it is passed on."""

    def init_model_from_pretrained(self, *args: Any, **named: Any) -> None:
        """See OpenRLHF's."""
        super().init_model_from_pretrained(*args, **named)
        leave_out(self.actor.model.module)


class SpokenReference(StockReference):
    """The policy that the divergence is measured from; the signature is passed on, as above."""

    def init_model_from_pretrained(self, *args: Any, **named: Any) -> None:
        """See OpenRLHF's."""
        super().init_model_from_pretrained(*args, **named)
        leave_out(self.model.model.module)


def leave_out(model: Any) -> None:  # Any: a Hugging Face model, or an adapter around one
    """From now on the model gives no chance to the tokens that its generation settings suppress."""
    never = suppressed_ids(model)
    if not never:
        return

    def _without(module: object, given: object, found: Any) -> Any:
        found["logits"] = suppress(found["logits"], never)
        return found

    model.register_forward_hook(_without)
