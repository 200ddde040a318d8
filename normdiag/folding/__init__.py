"""Folding: which norms can go and where (plan), the new weights, the verification, the edited model of each backend."""
