"""x."""
class MirrorWarning(UserWarning):
    """x."""
