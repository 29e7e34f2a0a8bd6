"""`unroll predict`: arguments and files to inputs, inputs to answers in chunks, answers to a file row by row."""
