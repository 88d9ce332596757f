"""Recognise requests that a page of another site has caused. Browsers name the site in ``Origin`` and ``Sec-Fetch-Site``.

Programs that are not browsers send neither header. They cannot be made to send a request by another site.
"""

from collections.abc import Collection

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def is_own_origin(origin: str, host: str, schemes: Collection[str], proxied_hosts: Collection[str] = ()) -> bool:
    """Return whether an origin is this server.

    Args:
        origin: the header ``Origin``. ``null`` is another site, for example a page in a sandbox.
        host: the header ``Host`` of the same request, which was compared with the names of the server before.
        schemes: possible schemes of the server.
        proxied_hosts: names by which a proxy is reached, if the proxy can replace ``Host``. A name without a port stands for
            the default port.

    >>> is_own_origin("https://Line1.example", "line1.example:443", {"https"})
    True
    >>> is_own_origin("http://localhost:3000", "localhost:8420", {"http"})
    False
    """
    scheme, separator, place = origin.lower().partition("://")
    if not separator or scheme not in schemes:
        return False
    default = _DEFAULT_PORTS[scheme]
    place = place.removesuffix(default)
    if place == host.lower().removesuffix(default):
        return True
    # another port is another site, so that a name without a port does not stand for all ports here
    return place in {name.lower().removesuffix(default) for name in proxied_hosts}


def may_read(site: str | None, mode: str | None, destination: str | None) -> bool:
    """Return whether a reading request with these ``Sec-Fetch-Site``, ``-Mode`` and ``-Dest`` is answered.

    Other sites can link to this server. They cannot embed its pictures, scripts or pages.
    """
    return site in (None, "same-origin", "none") or (mode == "navigate" and destination == "document")


def may_change(site: str | None) -> bool:
    """Return whether a request with this ``Sec-Fetch-Site`` can change the state."""
    return site in (None, "same-origin")
