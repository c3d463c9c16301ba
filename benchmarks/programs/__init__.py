"""Whole programs: a network trained on a folder of IDX files, from the start of the process to its end.

``python -m benchmarks.programs FOLDER`` runs the same training in PyTorch, in JAX and by ``chainrule train``, one after
the other in turns, and reports the median wall time of each: start-up, reading, ten epochs and the test.

The training: 60,000 images in the MNIST format, 784-256-128-10 with ReLU, batches of 128 shuffled in each epoch (the
last one smaller), cross entropy, Adam with a constant learning rate of 1e-3. What differs costs ``chainrule train``
more: it standardises the pixels where the others divide by 255, measures the training part at the end, too, and writes
model, history and record. First weights are each library's own way of drawing them, as are the orders of the rows.
"""
