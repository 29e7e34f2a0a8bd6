"""Training sound that is made, not recorded: synthetic speech, connected digits, streams with keywords in them."""
