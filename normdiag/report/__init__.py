"""Reports as documents: what is said, said once for every renderer."""
