"""The half that is held out: nobody tunes the audit on it."""
