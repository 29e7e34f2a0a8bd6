"""Access control: API keys, what each may do and how much, and who used how much. No HTTP and no event loop."""
