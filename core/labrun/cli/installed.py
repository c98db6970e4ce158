"""The list of the installed plugins."""

from labrun.plugins.claims import installed


def show() -> None:
    """Print each plugin with its distribution and module; none is imported."""
    for plugin, claims in installed().items():
        owners = " and ".join(f"{c.distribution} {c.version}" for c in claims)
        conflict = "  CONFLICT: uninstall one" if len(claims) > 1 else ""
        print(f"{plugin:<14} {owners:<28} {claims[0].module}{conflict}")
