"""What can be wrong with a stored model."""


class IncompatibleModel(ValueError):
    """A stored model that this program, or this definition, can't go on from. It is learned again from the
    log.
    """
