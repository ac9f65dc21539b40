//! Channel binding: the password's proof holds for this TLS session alone, so that nobody in between can pass it on.
//!
//! RFC 5929, section 4, `tls-server-end-point`, the only type that PostgreSQL knows (manual, section 55.3.1).

use sha2::{Digest, Sha256, Sha384, Sha512};
use x509_parser::oid_registry as oids;
use x509_parser::signature_algorithm::SignatureAlgorithm;

/// Whether it is used; as libpq's `channel_binding` (manual, section 34.1.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelBinding {
    Disable,
    /// Where TLS is spoken and the server offers it.
    Prefer,
    /// Or there is no session.
    Require,
}

impl ChannelBinding {
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "disable" => Some(Self::Disable),
            "prefer" => Some(Self::Prefer),
            "require" => Some(Self::Require),
            _ => None,
        }
    }
}

/// What a session is bound to: the digest of the server's certificate (DER), by the hash of the certificate's own signature, or
/// by SHA-256 where that is MD5 or SHA-1. None where the signature has no such hash, as Ed25519's.
pub fn end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
    let signed_by = &parsed.signature_algorithm;
    let hash = match SignatureAlgorithm::try_from(signed_by).ok()? {
        SignatureAlgorithm::RSASSA_PSS(params) => params.hash_algorithm_oid().to_owned(),
        _ => signed_by.algorithm.to_owned(),
    };
    let is = |names: &[oids::Oid<'static>]| names.contains(&hash);
    if is(&[
        oids::OID_PKCS1_MD5WITHRSAENC,
        oids::OID_PKCS1_SHA1WITHRSA,
        oids::OID_PKCS1_SHA256WITHRSA,
        oids::OID_SIG_ECDSA_WITH_SHA256,
        oids::OID_NIST_HASH_SHA256,
        oids::OID_HASH_SHA1,
    ]) {
        Some(Sha256::digest(certificate).to_vec())
    } else if is(&[
        oids::OID_PKCS1_SHA384WITHRSA,
        oids::OID_SIG_ECDSA_WITH_SHA384,
        oids::OID_NIST_HASH_SHA384,
    ]) {
        Some(Sha384::digest(certificate).to_vec())
    } else if is(&[
        oids::OID_PKCS1_SHA512WITHRSA,
        oids::OID_SIG_ECDSA_WITH_SHA512,
        oids::OID_NIST_HASH_SHA512,
    ]) {
        Some(Sha512::digest(certificate).to_vec())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    #[test]
    fn the_digest_is_that_of_the_certificates_signature() {
        for (algorithm, length) in
            [(&PKCS_ECDSA_P256_SHA256, Some(32)), (&PKCS_ECDSA_P384_SHA384, Some(48)), (&PKCS_ED25519, None)]
        {
            let key = KeyPair::generate_for(algorithm).unwrap();
            let certificate =
                CertificateParams::new(Vec::<String>::new()).unwrap().self_signed(&key).unwrap();
            assert_eq!(end_point(certificate.der()).map(|digest| digest.len()), length);
        }
        assert_eq!(end_point(b"no certificate"), None);
    }
}
