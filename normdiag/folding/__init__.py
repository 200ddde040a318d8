"""Folding: which norms can go and where (plan), the new weights, the proof, and the edited model of each backend."""
