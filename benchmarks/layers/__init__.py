"""Training steps of convolutional, recurrent and attention networks: chainrule beside PyTorch and JAX, in pairs."""
