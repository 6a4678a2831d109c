"""Knows the errors a caller may want to tell apart; knows nothing of who raises them."""


class ChatbotError(Exception):
    """Root of every error that this project raises on purpose."""


def reason_of(error: BaseException) -> str:
    """What an error of a library says, in one line without an end, to go into one of ours."""
    return str(error).strip().partition("\n")[0].rstrip(" .:")


class CorpusError(ChatbotError):
    """A corpus file or a packed folder is not what it should be.

    The message names the file, the line where there is one, and what was expected.
    """


class TrainingError(ChatbotError):
    """A training run cannot start or go on; the message says what to change."""


class ModelError(ChatbotError):
    """A model folder cannot be used; the message says what is missing or wrong."""


class InputError(ChatbotError):
    """What the person or program asked for cannot be answered as it stands."""


class UnknownAttributeError(InputError):
    """A control names an attribute that there is none of; the message lists the known ones."""


class StoreError(ChatbotError):
    """The file of conversations cannot be read or written; the message says what to do."""
