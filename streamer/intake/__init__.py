"""From fields in any order to complete steps, and what may be committed."""
