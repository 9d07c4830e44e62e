"""The metric families, one module per subject. Each module exports `FAMILIES`; the catalogue collects them."""
