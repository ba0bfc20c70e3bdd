//! TLS to PostgreSQL: the trusted certificates and their verification, as libpq understands `sslmode`,
//! `sslrootcert`, `sslcert` and `sslkey`.
//!
//! rustls verifies as web clients do. libpq, whose users this program takes over, differs: it may verify
//! nothing, or the chain without the name; it trusts a server certificate that is itself in the root file,
//! and it uses the common name of a certificate without alternative names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::{
    CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;
use x509_cert::Certificate;
use x509_cert::der::asn1::{Ia5StringRef, PrintableStringRef, TeletexStringRef, Utf8StringRef};
use x509_cert::der::oid::db::rfc4519::COMMON_NAME;
use x509_cert::der::{Decode, Tag, Tagged};
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::last_words::Connector;
use super::tls_error::TlsError;
use crate::config::database_url::{PostgresSettings, RootCertificates, SslMode};

/// Builds the connector for TLS.
///
/// # Errors
/// If a certificate or key file is missing or unusable.
pub(super) fn connector(settings: &PostgresSettings) -> Result<Connector, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier {
        roots: roots(settings)?,
        check_name: settings.ssl_mode == SslMode::VerifyFull,
        provider: Arc::clone(&provider),
    };
    let details = settings.tls;
    let versions =
        if details.only_version_1_3 { &[&rustls::version::TLS13] } else { rustls::DEFAULT_VERSIONS };
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier));
    let certificate = if details.client_certificate { client_certificate(settings)? } else { None };
    let mut config = match certificate {
        Some((chain, key)) => builder.with_client_auth_cert(chain, key).map_err(TlsError::Client)?,
        None => builder.with_no_client_auth(),
    };
    config.enable_sni = details.sni;
    if details.direct {
        // Without ALPN a server refuses TLS that begins without a request.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
    }
    let allowed = settings.required_auth.clone().map(Arc::from);
    Ok(Connector::new(MakeRustlsConnect::new(config), allowed))
}

/// The reason why the server's certificate is not accepted.
pub(super) fn explain(error: &CertificateError) -> String {
    match error {
        CertificateError::UnknownIssuer => "no root certificate (sslrootcert) vouches for it".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for this host ({error})")
        }
        // rustls distinguishes this error from others only by its text.
        other if other.to_string().contains("UnsupportedCertVersion") => {
            "it is of X.509 version 1, which cannot be verified here; make one with a subjectAltName \
             extension"
                .to_owned()
        }
        other => other.to_string(),
    }
}

/// The authorities that may vouch for the server.
#[derive(Debug)]
struct Roots {
    anchors: RootCertStore,
    certificates: Vec<CertificateDer<'static>>,
}

/// `None`: nothing is verified. As in libpq, a missing root certificate file is an error only for the modes
/// that always verify, and an existing one counts in every mode.
fn roots(settings: &PostgresSettings) -> Result<Option<Roots>, TlsError> {
    let path = match &settings.root_certificates {
        RootCertificates::System => {
            let found = rustls_native_certs::load_native_certs();
            if found.certs.is_empty() {
                return Err(TlsError::NoSystemRoots);
            }
            let mut anchors = RootCertStore::empty();
            anchors.add_parsable_certificates(found.certs);
            return Ok(Some(Roots { anchors, certificates: Vec::new() }));
        }
        RootCertificates::File(path) => path.clone(),
        RootCertificates::Default => default_file("root.crt"),
    };
    if !path.exists() {
        if settings.ssl_mode < SslMode::VerifyCa {
            return Ok(None);
        }
        return Err(TlsError::NoRootFile(path));
    }
    let certificates = read_certificates(&path)?;
    let mut anchors = RootCertStore::empty();
    for certificate in &certificates {
        anchors.add(certificate.clone()).map_err(|error| TlsError::Root(path.clone(), error))?;
    }
    Ok(Some(Roots { anchors, certificates }))
}

type ClientCertificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn client_certificate(settings: &PostgresSettings) -> Result<Option<ClientCertificate>, TlsError> {
    let certificate = match &settings.client_certificate {
        Some(path) => path.clone(),
        None if default_file("postgresql.crt").exists() => default_file("postgresql.crt"),
        None => return Ok(None),
    };
    let key = settings.client_key.clone().unwrap_or_else(|| default_file("postgresql.key"));
    let private_key = PrivateKeyDer::from_pem_file(&key).map_err(|error| TlsError::Key(key, error))?;
    Ok(Some((read_certificates(&certificate)?, private_key)))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| TlsError::Certificates(path.to_owned(), error))?;
    if certificates.is_empty() {
        return Err(TlsError::NoCertificates(path.to_owned()));
    }
    Ok(certificates)
}

fn default_file(name: &str) -> PathBuf {
    std::env::home_dir().unwrap_or_default().join(".postgresql").join(name)
}

#[derive(Debug)]
struct Verifier {
    /// `None`: accept any certificate.
    roots: Option<Roots>,
    check_name: bool,
    provider: Arc<CryptoProvider>,
}

/// One of rustls's functions that check the signature of a handshake, for one version of TLS.
type CheckSignature = fn(
    &[u8],
    &CertificateDer<'_>,
    &DigitallySignedStruct,
    &WebPkiSupportedAlgorithms,
) -> Result<HandshakeSignatureValid, rustls::Error>;

impl Verifier {
    /// Checks a signature. If any certificate is accepted, a signature with its key proves nothing, and
    /// rustls cannot even read the keys of some certificates that are made as PostgreSQL's documentation
    /// says.
    fn signature(
        &self,
        check: CheckSignature,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        match self.roots {
            None => Ok(HandshakeSignatureValid::assertion()),
            Some(_) => {
                check(message, certificate, signature, &self.provider.signature_verification_algorithms)
            }
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Some(roots) = &self.roots {
            if roots.certificates.iter().any(|root| root == end_entity) {
                check_dates(end_entity, now)?;
            } else {
                let algorithms = self.provider.signature_verification_algorithms.all;
                let parsed = ParsedCertificate::try_from(end_entity)?;
                verify_server_cert_signed_by_trust_anchor(
                    &parsed,
                    &roots.anchors,
                    intermediates,
                    now,
                    algorithms,
                )?;
            }
            if self.check_name {
                check_name(end_entity, server_name)?;
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(verify_tls12_signature, message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.signature(verify_tls13_signature, message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn parse(certificate: &CertificateDer<'_>) -> Result<Certificate, rustls::Error> {
    Certificate::from_der(certificate).map_err(|_| CertificateError::BadEncoding.into())
}

fn check_dates(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), rustls::Error> {
    let validity = parse(certificate)?.tbs_certificate.validity;
    let now = Duration::from_secs(now.as_secs());
    if now < validity.not_before.to_unix_duration() {
        return Err(CertificateError::NotValidYet.into());
    }
    if now > validity.not_after.to_unix_duration() {
        return Err(CertificateError::Expired.into());
    }
    Ok(())
}

/// Checks the name of a certificate. The alternative names count; the common name counts only if no
/// alternative name is of the host's kind.
fn check_name(certificate: &CertificateDer<'_>, host: &ServerName<'_>) -> Result<(), rustls::Error> {
    let refusal = match verify_server_name(&ParsedCertificate::try_from(certificate)?, host) {
        Ok(()) => return Ok(()),
        Err(refusal) => refusal,
    };
    let parsed = parse(certificate)?;
    let alternatives = match parsed.tbs_certificate.get::<SubjectAltName>() {
        Ok(found) => found.map_or_else(Vec::new, |(_, names)| names.0),
        Err(_) => return Err(refusal),
    };
    let is_of_hosts_kind = |name: &GeneralName| match host {
        ServerName::IpAddress(_) => matches!(name, GeneralName::IpAddress(_)),
        _ => matches!(name, GeneralName::DnsName(_)),
    };
    if alternatives.iter().any(is_of_hosts_kind) {
        return Err(refusal);
    }
    match common_name(&parsed) {
        Some(name) if name_fits(&name, &host.to_str()) => Ok(()),
        _ => Err(refusal),
    }
}

fn common_name(certificate: &Certificate) -> Option<String> {
    let mut parts = certificate.tbs_certificate.subject.0.iter().flat_map(|names| names.0.iter());
    let value = &parts.rfind(|part| part.oid == COMMON_NAME)?.value;
    let text = match value.tag() {
        Tag::Utf8String => Utf8StringRef::try_from(value).ok()?.as_str().to_owned(),
        Tag::PrintableString => PrintableStringRef::try_from(value).ok()?.as_str().to_owned(),
        Tag::Ia5String => Ia5StringRef::try_from(value).ok()?.as_str().to_owned(),
        Tag::TeletexString => TeletexStringRef::try_from(value).ok()?.as_str().to_owned(),
        _ => return None,
    };
    Some(text)
}

/// Whether a pattern matches a host: `*.example.org` matches one label before `.example.org`.
fn name_fits(pattern: &str, host: &str) -> bool {
    let host = host.trim_end_matches('.');
    match pattern.strip_prefix('*') {
        Some(suffix) if suffix.starts_with('.') => host
            .split_once('.')
            .is_some_and(|(label, _)| !label.is_empty() && host[label.len()..].eq_ignore_ascii_case(suffix)),
        _ => pattern.eq_ignore_ascii_case(host),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_one_label() {
        for (pattern, host, fits) in [
            ("db.example.org", "DB.example.org.", true),
            ("db.example.org", "example.org", false),
            ("*.example.org", "db.example.org", true),
            ("*.example.org", "a.b.example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "example.org", false),
            ("*", "db", false),
            ("*b", "db", false),
        ] {
            assert_eq!(name_fits(pattern, host), fits, "{pattern} {host}");
        }
    }
}
