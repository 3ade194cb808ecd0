"""The disk's own errors for people, where a command ends with one."""


def readable(error: Exception) -> str:
    """The error's text; of an error that the system raised, which file it was and what to do."""
    if not isinstance(error, OSError) or error.errno is None:
        return str(error)
    return (
        f"{error.filename or 'A file'} could not be read or written: {error.strerror}. Make it accessible, or free "
        "some space, and run the same command again."
    )
