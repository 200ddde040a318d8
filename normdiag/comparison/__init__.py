"""How two models differ: in what they store, and in what they compute."""
