//! TLS as `sslmode` asks for it, by rustls.

use std::path::Path;
use std::sync::Arc;

use godwit_model::{Error, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use crate::config::{Config, SslMode};

/// What the handshake has to prove. `None` for `disable`.
pub fn client(config: &Config) -> Result<Option<Arc<ClientConfig>>> {
    let provider = Arc::new(ring::default_provider());
    let check = match config.ssl_mode {
        SslMode::Disable => return Ok(None),
        SslMode::Prefer | SslMode::Require => Check::Nothing,
        SslMode::VerifyCa => Check::Chain(web_pki(config, &provider)?),
        SslMode::VerifyFull => Check::ChainAndName(web_pki(config, &provider)?),
    };
    let client = ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|e| Error::host(format!("TLS can't be set up: {e}")))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { check, provider }));
    let client = match &config.ssl_identity {
        None => client.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = identity(config, certificate, key)?;
            client.with_client_auth_cert(chain, key).map_err(|e| {
                Error::invalid(format!(
                    "connection `{}`: sslcert and sslkey don't go together: {e}",
                    config.name
                ))
            })?
        }
    };
    Ok(Some(Arc::new(client)))
}

/// The client's certificate with those that vouch for it, and its key.
fn identity(
    config: &Config,
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
    let fault = |field: &str, path: &Path, why: String| {
        Error::invalid(format!(
            "connection `{}`: {field} `{}` can't be used: {why}",
            config.name,
            path.display()
        ))
        .hint("give a PEM file; a key that is encrypted has to be decrypted first (openssl pkey)")
    };
    let read = |field: &str, path: &Path| std::fs::read(path).map_err(|e| fault(field, path, e.to_string()));
    let pem = read("sslcert", certificate)?;
    let chain = rustls_pemfile::certs(&mut pem.as_slice())
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| fault("sslcert", certificate, e.to_string()))?;
    if chain.is_empty() {
        return Err(fault("sslcert", certificate, "it holds no certificate".to_owned()));
    }
    let pem = read("sslkey", key)?;
    let found = rustls_pemfile::private_key(&mut pem.as_slice())
        .map_err(|e| fault("sslkey", key, e.to_string()))?
        .ok_or_else(|| fault("sslkey", key, "it holds no key".to_owned()))?;
    Ok((chain, found))
}

/// The name that the server's certificate has to carry.
pub fn server_name(config: &Config) -> Result<ServerName<'static>> {
    ServerName::try_from(config.host.clone()).map_err(|_| {
        Error::invalid(format!(
            "connection `{}`: `{}` isn't a host name that TLS can check",
            config.name, config.host
        ))
    })
}

fn web_pki(config: &Config, provider: &Arc<CryptoProvider>) -> Result<Arc<WebPkiServerVerifier>> {
    let mut roots = RootCertStore::empty();
    match &config.ssl_root_cert {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let fault = |why: String| {
                Error::invalid(format!(
                    "connection `{}`: sslrootcert `{}` can't be used: {why}",
                    config.name,
                    path.display()
                ))
                .hint("give a PEM file with the certificate of the authority that signed the server's")
            };
            let pem = std::fs::read(path).map_err(|e| fault(e.to_string()))?;
            for certificate in rustls_pemfile::certs(&mut pem.as_slice()) {
                let certificate = certificate.map_err(|e| fault(e.to_string()))?;
                roots.add(certificate).map_err(|e| fault(e.to_string()))?;
            }
            if roots.is_empty() {
                return Err(fault("it holds no certificate".to_owned()));
            }
        }
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|e| Error::host(format!("TLS can't be set up: {e}")))
}

#[derive(Debug)]
enum Check {
    Nothing,
    Chain(Arc<WebPkiServerVerifier>),
    ChainAndName(Arc<WebPkiServerVerifier>),
}

/// Checks as much of the certificate as `sslmode` promises; the handshake's signature is always checked.
#[derive(Debug)]
struct Verifier {
    check: Check,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.check {
            Check::Nothing => Ok(ServerCertVerified::assertion()),
            Check::ChainAndName(verifier) => {
                verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
            }
            Check::Chain(verifier) => {
                match verifier.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                {
                    // The chain is checked before the name.
                    Err(rustls::Error::InvalidCertificate(
                        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
                    )) => Ok(ServerCertVerified::assertion()),
                    other => other,
                }
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
