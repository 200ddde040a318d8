"""What takes more than one node to see, recognised without knowing the framework."""
