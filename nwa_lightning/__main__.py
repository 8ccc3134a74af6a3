"""``python -m nwa_lightning`` is ``nwa``."""

from nwa_lightning.cli.main import main

main()
