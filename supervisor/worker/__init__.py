"""The process that serves: accepts, counts, keeps deadlines; one in each slot."""
