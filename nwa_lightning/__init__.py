"""Needleman-Wunsch Attention for any Lightning model that embeds sequences."""

from importlib.metadata import version as _version

import lazy_loader as _lazy

__version__ = _version("nwa-lightning")

# A public name is imported when it is first used: torch and Lightning take seconds, and half of the commands need neither.
__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
__all__ += ["__version__"]
