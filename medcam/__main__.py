"""`python -m medcam`."""

from medcam.cli import main

main()
