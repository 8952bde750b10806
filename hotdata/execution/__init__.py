"""HOW a run runs: from ``queued`` to one recorded outcome. Knows no cache and no trigger."""
