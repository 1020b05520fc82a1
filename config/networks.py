"""Which hosts are inside: loopback, private networks and what else is not the public internet. Nothing is looked up."""

from __future__ import annotations

from ipaddress import IPv6Address, IPv6Network, ip_address

__all__ = ["is_private"]

NAT64 = IPv6Network("64:ff9b::/96")


def is_private(host: str) -> bool:
    """Whether an address, or a name that says it by itself, is inside. Other names: False."""
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, IPv6Address):
        within = address.ipv4_mapped or address.sixtofour
        if address in NAT64:
            return is_private(".".join(str(byte) for byte in address.packed[-4:]))
        if within:
            return is_private(str(within))
    return address.is_multicast or not address.is_global
