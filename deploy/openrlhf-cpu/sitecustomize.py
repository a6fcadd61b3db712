"""OpenRLHF's calls of CUDA land on the CPU: for the tests of the whole training run, and for nothing else.

Python runs this file when its folder is on PYTHONPATH: in Ray's workers, and in vLLM's own processes, which a
set-up hook of Ray would not reach. It does nothing unless OPENRLHF_ON_CPU is 1. No file of a package is
changed: each patch is made right after its module was first imported.
"""

import importlib.abc
import importlib.machinery
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

FACTORIES = ("arange", "empty", "full", "ones", "tensor", "zeros")


def names_cuda(value: object) -> bool:
    """Whether an argument stands for a GPU; `torch.cuda.current_device()` is the plain number 0."""
    if isinstance(value, str):
        return value.startswith("cuda")
    if type(value) is int:
        return value == 0
    # By its name: this runs before torch may be imported. A tensor must not be printed to find out.
    return type(value).__name__ == "device" and str(value).startswith("cuda")


def on_cpu(
    function: Callable[..., Any], *, positional: bool
) -> Callable[..., Any]:  # Any: whatever torch's function takes and returns
    """The function with every device that is a GPU replaced."""

    def moved(*args: Any, **named: Any) -> Any:
        if names_cuda(named.get("device")):
            named["device"] = "cpu"
        if positional:
            args = (args[0], *("cpu" if names_cuda(arg) else arg for arg in args[1:]))
        return function(*args, **named)

    return moved


def patch_torch(torch: ModuleType) -> None:
    """Devices and streams: OpenRLHF asks for the current GPU without looking whether there is one."""
    torch.cuda.current_device = lambda: 0
    for name in ("set_device", "synchronize", "empty_cache", "current_stream"):
        setattr(torch.cuda, name, lambda *args, **named: None)
    torch.Tensor.to = on_cpu(torch.Tensor.to, positional=True)
    torch.nn.Module.to = on_cpu(torch.nn.Module.to, positional=True)
    # Pinned memory is CUDA's; the data loader asks for it.
    torch.Tensor.pin_memory = lambda self, *args, **named: self
    # `with torch.device("meta")` knows factories by the functions themselves and lists them once: they must
    # be the real ones. Otherwise the buffers that no checkpoint holds (the rotary frequencies) are never
    # filled, and every process computes with whatever lay in that memory.
    importlib.import_module("torch.utils._device")._device_constructors()
    for name in FACTORIES:
        # In a factory a positional 0 is a size or a value, so only `device=` is looked at.
        setattr(torch, name, on_cpu(getattr(torch, name), positional=False))


def patch_mesh(mesh: ModuleType) -> None:
    """DeepSpeed's strategy builds a mesh of "cuda"; gloo knows CPUs only."""
    build = mesh.init_device_mesh
    mesh.init_device_mesh = lambda kind, *args, **named: build("cpu", *args, **named)


class StoreBroadcast:
    """Weights for vLLM through a store of objects, in the place of NCCL: right, and slow for large models."""

    def __init__(self, host: str, port: int, *, rank: int, world_size: int) -> None:
        from vllm.distributed.utils import StatelessProcessGroup

        self._rank = rank
        self._group = StatelessProcessGroup.create(host=host, port=port, rank=rank, world_size=world_size)

    def broadcast(self, tensor: Any, src: int, stream: object = None) -> None:
        """As PyNcclCommunicator's."""
        sent = self._group.broadcast_obj(tensor.detach().cpu() if self._rank == src else None, src)
        if self._rank != src:
            tensor.copy_(sent)


def patch_groups(groups: ModuleType) -> None:
    """NCCL between trainer and engine does not exist without GPUs."""
    groups.stateless_init_process_group = lambda host, port, rank, world_size, device: StoreBroadcast(
        host, port, rank=rank, world_size=world_size
    )


def patch_gemm(utils: ModuleType) -> None:
    """vLLM's oneDNN path repacks a weight and drops the parameter: the next weights could not be loaded."""

    def plain(layer: Any, remove_weight: bool) -> None:
        from torch.nn.functional import linear

        layer.cpu_linear = linear

    utils.dispatch_cpu_unquantized_gemm = plain


def put_flash_attention() -> None:
    """Five names that a module imports and that only packing and ring attention call."""

    def absent(*args: object, **named: object) -> None:
        raise RuntimeError("flash attention needs a GPU; leave packing and ring attention off")

    for name, held in (
        ("flash_attn", ()),
        ("flash_attn.bert_padding", ("index_first_axis", "pad_input", "rearrange", "unpad_input")),
        ("flash_attn.utils", ()),
        ("flash_attn.utils.distributed", ("all_gather",)),
    ):
        module = ModuleType(name)
        module.__path__ = []
        module.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
        for function in held:
            setattr(module, function, absent)
        sys.modules.setdefault(name, module)


PATCHES = {
    "torch": patch_torch,
    "torch.distributed.device_mesh": patch_mesh,
    "openrlhf.utils.distributed_util": patch_groups,
    "vllm.model_executor.layers.utils": patch_gemm,
}


class Patcher(importlib.abc.MetaPathFinder):
    """Finds modules as Python would and patches those of `PATCHES` once they are loaded."""

    def __init__(self) -> None:
        self._looking: set[str] = set()

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """See `importlib.abc.MetaPathFinder`."""
        if fullname == "openrlhf.models.ring_attn_utils":
            put_flash_attention()
        if fullname not in PATCHES or fullname in self._looking:
            return None
        self._looking.add(fullname)
        try:
            spec = importlib.util.find_spec(fullname)
        finally:
            self._looking.discard(fullname)
        return None if spec is None else _patched(spec, PATCHES[fullname])


def _patched(
    spec: importlib.machinery.ModuleSpec, patch: Callable[[ModuleType], None]
) -> importlib.machinery.ModuleSpec:
    loader = spec.loader
    load = loader.exec_module

    def load_and_patch(module: ModuleType) -> None:
        load(module)
        patch(module)

    loader.exec_module = load_and_patch
    return spec


if os.environ.get("OPENRLHF_ON_CPU") == "1":
    sys.meta_path.insert(0, Patcher())
