"""What a request is refused with, in the shape that OpenAI's clients read. Knows no model and no server."""

from typing import Any


class Refused(Exception):
    """`status`: of HTTP. `param`: the field at fault; `code`: a word for programs."""

    def __init__(self, status: int, message: str, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code = status, message, param, code

    def as_json(self) -> dict[str, Any]:
        said = {"message": self.message, "type": _kind(self.status), "param": self.param, "code": self.code}
        return {"error": {name: text and _whole(text) for name, text in said.items()}}


def _whole(text: str) -> str:
    """What a request holds may be half a character, with which no answer can be written."""
    return text.encode("utf-8", "backslashreplace").decode()


KINDS = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}


def _kind(status: int) -> str:
    return "server_error" if status >= 500 else KINDS.get(status, "invalid_request_error")


def wrong(param: str, message: str) -> Refused:
    """A field of the request that cannot be."""
    return Refused(400, message, param, "invalid_value")
