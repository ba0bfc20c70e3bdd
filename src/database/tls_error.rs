//! Why a configuration of TLS cannot be used.

use std::error::Error;
use std::fmt;
use std::path::PathBuf;

use rustls::pki_types::pem;

/// A parameter of a URL, or a file that it names, from which no connection with TLS can be made.
#[derive(Debug)]
pub(super) enum TlsError {
    /// `sslrootcert=system` on a machine that trusts no authority.
    NoSystemRoots,
    /// A mode that verifies, without the file that says whom to trust.
    NoRootFile(PathBuf),
    /// A root certificate that is none.
    Root(PathBuf, rustls::Error),
    /// The file of a certificate cannot be read.
    Certificates(PathBuf, pem::Error),
    /// It holds none.
    NoCertificates(PathBuf),
    /// The file of the client's key cannot be read.
    Key(PathBuf, pem::Error),
    /// Certificate and key of the client do not go together.
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
            Self::Root(path, _) => write!(f, "a certificate in {} cannot be used", path.display()),
            Self::Certificates(path, _) => write!(f, "no certificate can be read from {}", path.display()),
            Self::NoCertificates(path) => write!(f, "there is no PEM certificate in {}", path.display()),
            Self::Key(path, _) => write!(f, "no private key can be read from {} (sslkey)", path.display()),
            Self::Client(_) => f.write_str("the client certificate (sslcert) cannot be used"),
            Self::Versions(_) => f.write_str("TLS cannot be used"),
        }
    }
}

impl Error for TlsError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::NoSystemRoots | Self::NoRootFile(_) | Self::NoCertificates(_) => None,
            Self::Certificates(_, error) | Self::Key(_, error) => Some(error),
            Self::Root(_, error) | Self::Client(error) | Self::Versions(error) => Some(error),
        }
    }
}
