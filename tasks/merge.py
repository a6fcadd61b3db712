"""Merge: an adapter and its base become one folder of weights, compared before it appears."""

import shutil
from pathlib import Path

from tasks.config import ConfigError

# Of the largest logit: rounding in single precision stays an order below.
LARGEST_GAP = 1e-5


class MergeError(RuntimeError):
    """What was written does not speak as base and adapter do; nothing was left."""


def run(folder: Path, out: Path) -> float:
    """Write the policy of an adapter's folder; the largest difference of logits, in units of the largest.

    Raises ConfigError for whole weights and for a folder that exists, MergeError for another policy.
    """
    from itpo_core.adapter_files import is_adapter
    from itpo_core.tiny_policy import load_policy, save_policy

    if not is_adapter(folder):
        raise ConfigError(f"{folder}: whole weights already; copy the folder instead")
    if out.exists():
        raise ConfigError(f"--out {out} exists: name a folder that does not")
    partial = out.with_name(f".{out.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        save_policy(*load_policy(folder), folder=partial)
        gap = gap_of(folder, partial)
        if not gap <= LARGEST_GAP:
            raise MergeError(
                f"{folder}: merged logits differ by {gap:.1e} of the largest, over {LARGEST_GAP:.0e}"
            )
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return gap


def gap_of(adapter: Path, merged: Path) -> float:
    """Largest difference of logits on fixed tokens: base with the adapter beside it, against the merged."""
    import torch

    from itpo_core.adapter_files import read_adapter
    from itpo_core.optimisation import seeded
    from itpo_core.tiny_policy import load_policy
    from itpo_core.trainers.starts import starting

    beside = starting(adapter, read_adapter(adapter).settings, seed=0).model
    whole, _ = load_policy(merged)
    tokens_BT = torch.randint(whole.config.vocab_size, (2, 16), generator=seeded(0, "merge"))
    with torch.inference_mode():
        wanted_BTV, found_BTV = beside(tokens_BT).logits, whole(tokens_BT).logits
    return float((wanted_BTV - found_BTV).abs().max() / wanted_BTV.abs().max().clamp(min=1.0))
