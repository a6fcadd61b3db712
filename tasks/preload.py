"""What almost every stage imports, loaded once by a process that forks the stages."""


def load() -> None:
    """Import torch and the parts of transformers that a stage needs; both are safe to fork after an import.

    pyarrow is left out: it starts a thread when it is imported, and a thread does not survive a fork.
    """
    import matplotlib.pyplot  # noqa: F401
    import torch.utils.tensorboard.writer  # noqa: F401
    from transformers import PreTrainedTokenizerFast  # noqa: F401
    from transformers.models.qwen2 import modeling_qwen2  # noqa: F401
