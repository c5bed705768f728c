"""Gates decide from recorded evidence what a candidate may do next."""
