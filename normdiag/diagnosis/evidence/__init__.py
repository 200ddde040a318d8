"""What a report says, so that causes can be tested against it: layer by layer, and over the depth of the network."""
