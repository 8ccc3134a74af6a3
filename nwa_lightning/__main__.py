"""``python -m nwa_lightning`` is ``nwa``."""

from nwa_lightning.cli import main

main()
