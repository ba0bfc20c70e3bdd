//! The reasons why a configuration of TLS is unusable.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::pem;

/// A parameter of a URL, or a file that it names, from which no connection with TLS can be made.
#[derive(Debug)]
pub(super) enum TlsError {
    /// `sslrootcert=system` on a machine that trusts no authority.
    NoSystemRoots,
    /// A mode that verifies, without the file of trusted certificates.
    NoRootFile(PathBuf),
    /// A root certificate that is invalid.
    Root(PathBuf, rustls::Error),
    /// The file of a certificate cannot be read.
    Certificates(PathBuf, pem::Error),
    /// The file holds no certificate.
    NoCertificates(PathBuf),
    /// The file of the client's key cannot be read.
    Key(PathBuf, pem::Error),
    /// The client's certificate and key do not belong together.
    Client(rustls::Error),
    /// The cryptography has none of the wanted versions of TLS.
    Versions(rustls::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSystemRoots => f.write_str(
                "this machine has no trusted root certificates (sslrootcert=system); install ca-certificates",
            ),
            Self::NoRootFile(path) => write!(
                f,
                "the root certificate file {} does not exist; name one with sslrootcert=, or use \
                 sslrootcert=system for those this machine trusts",
                path.display()
            ),
            Self::Root(path, error) => {
                write!(f, "a certificate in {} cannot be used: {error}", path.display())
            }
            Self::Certificates(path, error) => {
                write!(f, "no certificate can be read from {}: {error}", path.display())
            }
            Self::NoCertificates(path) => write!(f, "there is no PEM certificate in {}", path.display()),
            Self::Key(path, error) => {
                write!(f, "no private key can be read from {} (sslkey): {error}", path.display())
            }
            Self::Client(error) => write!(f, "the client certificate (sslcert) cannot be used: {error}"),
            Self::Versions(error) => error.fmt(f),
        }
    }
}

/// Each text includes its cause, as a `DatabaseError` has one reason.
impl Error for TlsError {}
