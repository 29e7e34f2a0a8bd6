"""Layers: recurrent cells, attention, dropout, pooling and output layers."""
