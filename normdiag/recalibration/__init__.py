"""New running statistics for a model: measured on data, judged on data held out, put back where the old ones stood."""
