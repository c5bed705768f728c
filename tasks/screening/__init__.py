"""Examples → examples without suspected poison: what ties rare words in what is asked to one odd kind of answer."""
