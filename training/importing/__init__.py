"""Foreign models as bundles: a recurrent graph that was trained elsewhere, analysed, rewritten and proven."""
