"""Whole programs: a network trained on a folder of IDX files, from the start of the process to its end.

``python -m benchmarks.programs FOLDER`` runs the same training in PyTorch, in JAX and by ``chainrule train``, one after
the other in turns, and reports the median wall time of each: start-up, reading, ten epochs and the test.

The training: 60,000 images in the MNIST format, scaled to 0…1, 784-256-128-10 with ReLU, batches of 128 shuffled in
each epoch (the last one smaller), cross entropy, Adam with a learning rate of 1e-3.
"""
