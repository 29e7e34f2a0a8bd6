"""Tasks that run their graph once per input: tagging, classification and forecasting."""
