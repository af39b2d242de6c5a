"""Certificates for both ends, and TLS settings made of them for each library."""

import ssl
from dataclasses import dataclass, field

import grpc
import trustme

__all__ = ["Security"]

# trustme also takes a context of pyOpenSSL's, which is not installed.
# pyright: reportUnknownMemberType=false

HOST = "127.0.0.1"


@dataclass(frozen=True)
class Security:
    """One authority, a server that it vouches for, and a client if ``mutual``."""

    mutual: bool = False
    protocols: tuple[str, ...] = ("h2",)
    authority: trustme.CA = field(default_factory=trustme.CA)
    #: The authority that the client believes.
    trusted: trustme.CA | None = None

    def server_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.authority.issue_cert(HOST).configure_cert(context)
        if self.protocols:
            context.set_alpn_protocols(self.protocols)
        if self.mutual:
            context.verify_mode = ssl.CERT_REQUIRED
            self.authority.configure_trust(context)
        return context

    def client_context(self) -> ssl.SSLContext:
        context = ssl.create_default_context()
        (self.trusted or self.authority).configure_trust(context)
        context.set_alpn_protocols(["h2"])
        if self.mutual:
            self.authority.issue_cert("client.example").configure_cert(context)
        return context

    def server_credentials(self) -> grpc.ServerCredentials:
        pair = _key_and_chain(self.authority.issue_cert(HOST))
        root = self.authority.cert_pem.bytes() if self.mutual else None
        return grpc.ssl_server_credentials([pair], root, require_client_auth=self.mutual)

    def channel_credentials(self) -> grpc.ChannelCredentials:
        root = (self.trusted or self.authority).cert_pem.bytes()
        if not self.mutual:
            return grpc.ssl_channel_credentials(root)
        own = _key_and_chain(self.authority.issue_cert("client.example"))
        return grpc.ssl_channel_credentials(root, *own)


def _key_and_chain(certificate: trustme.LeafCert) -> tuple[bytes, bytes]:
    chain = b"".join(part.bytes() for part in certificate.cert_chain_pems)
    return certificate.private_key_pem.bytes(), chain
