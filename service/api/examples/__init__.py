"""The examples of requests and answers in the OpenAPI document."""
