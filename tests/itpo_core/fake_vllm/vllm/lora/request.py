"""Which adapter a request of the fake names."""

from dataclasses import dataclass


@dataclass
class LoRARequest:
    """One adapter."""

    lora_name: str
    lora_int_id: int
    lora_path: str
