def exact_evaluator(source, tensors):
    return "not yet"
