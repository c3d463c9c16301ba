"""Benchmarks: one grid of workloads, every peer, pairs of sides alternating in one process.

``python -m benchmarks`` from the repository's root prints a table; ``--json FILE`` keeps everything that was measured.

What is measured is the wall time of one training step: forward, backward, update of the parameters and the loss
(not fetched to Python), on float32 batches that already lie in memory. How is told in `benchmarks.measure`.

Besides: ``--overhead`` times steps without arithmetic, ``--memory`` takes the peak memory of processes that train,
``python -m benchmarks.programs FOLDER`` times whole programs, ``python -m benchmarks.installation WHEEL`` takes the
size of installations and the time of imports. ``python -m benchmarks.page FOLDER`` makes all the others and prints them
as Markdown.
"""
