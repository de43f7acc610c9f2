"""python -m tandem_worker: the worker program. Tandem starts it with the channel on descriptors 3, 4 and 5."""
from .start import main

main()
