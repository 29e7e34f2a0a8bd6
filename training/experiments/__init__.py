"""What textbooks say of recurrent networks, as experiments that anyone can run again: `unroll experiment NAME`."""
