"""Is a backward pass right? The gradient check, and the audit of hand-written backward passes."""
