"""From a step to its fine fields: condition, tiles, workload, products."""
