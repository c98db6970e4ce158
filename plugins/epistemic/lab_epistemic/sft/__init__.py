"""Study 2: off-policy self-distillation."""
