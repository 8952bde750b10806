"""Deletes old records, by their kind's age and by the run limits of jobs. Nothing else ever deletes history."""
