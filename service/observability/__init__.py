"""Where requests stand in a trace, and the spans that tell of them."""
