"""Messages to people: what is posted here is on record, and is sent by a job that tries again."""
