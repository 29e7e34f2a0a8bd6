"""The API of OpenAI: models and text completions, as its clients and those of vLLM send them."""
