"""Describe why a connection failed, without text that may contain a secret or that the receiver wrote."""

import socket
import ssl


def why(error: BaseException) -> str:
    """Return the reason of a failed connection as text. Unknown errors are named by their type only.

    >>> why(ConnectionRefusedError(111, "Connection refused"))
    'Connection refused'
    >>> why(ValueError("token abc"))
    'ValueError'
    """
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the certificate of the receiver is not accepted: {error.verify_message}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {getattr(error, 'reason', None) or type(error).__name__}"
    if isinstance(error, TimeoutError):
        return "no connection or no answer in time"
    if isinstance(error, socket.gaierror):
        return f"the name of the host cannot be looked up: {error.strerror}"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return type(error).__name__
