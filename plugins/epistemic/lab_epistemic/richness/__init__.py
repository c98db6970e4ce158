"""Study 1: how rich the context of a guided response is."""
