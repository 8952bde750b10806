"""WHEN a run is made: what is due, who may fire it, and how it is put on record. Hands runs to an executor."""
