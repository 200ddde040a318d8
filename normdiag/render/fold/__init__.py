"""What `fold` did, for people and for machines."""
