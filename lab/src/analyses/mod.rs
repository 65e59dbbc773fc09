//! What models have learnt, asked beside their accuracy.
