"""Networks over entities that methods are built of, and the policy that acts by one."""
