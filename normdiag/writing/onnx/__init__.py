"""ONNX files with some of their parts replaced: what is not replaced is copied byte for byte, external data too."""
