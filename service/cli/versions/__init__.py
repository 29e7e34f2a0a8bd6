"""`unroll models diff` and `unroll models prune`: versions of a model beside each other, and without the old ones."""
