"""What automatic differentiation is: operations, tensors, the reverse pass, transformations, nested containers."""
