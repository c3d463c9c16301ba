"""The half that the audit may be tried on while it is made."""
