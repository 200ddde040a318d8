"""What can go wrong for a reason that the user can act on."""


class NormdiagError(Exception):
    """A failure with one clear line: what is wrong, where, and what to do next. The CLI exits 2 with it."""


class InputError(NormdiagError):
    """A file, its content or the data cannot be used as given."""


class UsageError(NormdiagError):
    """The options contradict each other or ask for something that does not exist."""
