//! Certificates of one session: an authority whose key never leaves this function, and one certificate per role.

use proto::launch::Identity;
use proto::{ROLE_URI_PREFIX, SERVER_NAME, role};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

use crate::failure::Failure;

/// Identities of a session's three roles.
#[derive(Clone, Debug)]
pub(crate) struct Identities {
    /// The hub's.
    pub(crate) hub: Identity,
    /// The capturer's.
    pub(crate) capturer: Identity,
    /// Every viewer's.
    pub(crate) viewer: Identity,
}

/// Makes a session's certificates.
pub(crate) fn make(session: &str) -> Result<Identities, Failure> {
    identities(session).map_err(|error| Failure::new(format!("making certificates failed: {error}")))
}

fn identities(session: &str) -> Result<Identities, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("kyanos session {session}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = params.self_signed(&key)?.pem();
    let issuer = Issuer::new(params, key);
    Ok(Identities {
        hub: identity(role::HUB, &authority, &issuer)?,
        capturer: identity(role::CAPTURER, &authority, &issuer)?,
        viewer: identity(role::VIEWER, &authority, &issuer)?,
    })
}

fn identity(role: &str, authority: &str, issuer: &Issuer<'_, KeyPair>) -> Result<Identity, rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, format!("kyanos {role}"));
    params.subject_alt_names.push(SanType::URI(Ia5String::try_from(format!("{ROLE_URI_PREFIX}{role}"))?));
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    if role == role::HUB {
        params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(SERVER_NAME)?));
        params.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    let certificate = params.signed_by(&key, issuer)?.pem();
    Ok(Identity { authority: authority.to_owned(), certificate, key: key.serialize_pem() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_has_its_own_key_under_one_authority() {
        let made = make("abcde").expect("certificates");
        assert_eq!(made.hub.authority, made.viewer.authority);
        assert_ne!(made.hub.key, made.viewer.key);
        assert_ne!(made.capturer.certificate, made.viewer.certificate);
        assert!(made.hub.certificate.starts_with("-----BEGIN CERTIFICATE-----"));
    }
}
