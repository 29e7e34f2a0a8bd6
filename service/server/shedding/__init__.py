"""Load shedding: requests that are refused before anything is done for them."""
