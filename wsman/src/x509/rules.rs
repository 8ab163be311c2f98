//! The rules of a provisioning chain, each with a text that says what is wrong and what to do.

use x509_parser::time::ASN1Time;

use crate::pthi::HashAlgorithm;

/// Where the device has the DNS suffix from that the certificate's name must match.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SuffixSource {
    /// Set in MEBx or by USB; it counts alone where it is set.
    PkiSuffix,
    /// DHCP option 15, as AMT itself heard it.
    Dhcp,
}

/// One broken rule. Names of certificates and entries are foreign texts: escape them where shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BrokenRule {
    /// The file ends before a root.
    #[error(
        "the chain is not complete: {subject} was issued by {issuer}, which is not in the file; add that certificate"
    )]
    Incomplete {
        /// The last certificate there is.
        subject: String,
        /// The one missing.
        issuer: String,
    },
    /// The names fit, the signature does not.
    #[error(
        "the chain is broken: {subject} names {issuer} as its issuer, but that certificate's key did not sign it; \
         take the issuer's certificate that belongs to it"
    )]
    NotSignedBy {
        /// The certificate.
        subject: String,
        /// Its issuer.
        issuer: String,
    },
    /// An algorithm that neither this program nor AMT knows.
    #[error(
        "the signature of {subject} uses algorithm {algorithm}, which is not supported; \
         have it issued with RSA and SHA-256"
    )]
    UnknownSignature {
        /// The certificate.
        subject: String,
        /// Dotted numbers.
        algorithm: String,
    },
    /// Something other than a CA stands as an issuer.
    #[error(
        "{subject} issued another certificate of the chain, but is not a CA; take the issuer's own certificate"
    )]
    IssuerIsNotCa {
        /// The certificate.
        subject: String,
    },
    /// Neither the purpose nor the unit says "AMT provisioning".
    #[error(
        "{subject} is not a provisioning certificate: it has neither the extended key usage 2.16.840.1.113741.1.2.3 \
         nor the OU \"Intel(R) Client Setup Certificate\"; have one issued with that usage and serverAuth"
    )]
    NotForProvisioning {
        /// The leaf.
        subject: String,
    },
    /// The purpose is there without the one that must stand beside it.
    #[error(
        "{subject} has the extended key usage for AMT provisioning, but not serverAuth (1.3.6.1.5.5.7.3.1); \
         have it issued with both"
    )]
    NoServerAuth {
        /// The leaf.
        subject: String,
    },
    /// Its time is over.
    #[error("{subject} expired on {} (it is {} now); have it renewed, unless this machine's clock is wrong", time_text(.not_after), time_text(.now))]
    Expired {
        /// The certificate.
        subject: String,
        /// Seconds since 1970.
        not_after: i64,
        /// Seconds since 1970.
        now: i64,
    },
    /// Its time is to come.
    #[error(
        "{subject} is valid from {} on (it is {} now); check this machine's clock, or wait",
        time_text(.not_before), time_text(.now)
    )]
    NotYetValid {
        /// The certificate.
        subject: String,
        /// Seconds since 1970.
        not_before: i64,
        /// Seconds since 1970.
        now: i64,
    },
    /// SHA-1 or MD5.
    #[error(
        "{subject} is signed with SHA-1 or MD5, which this firmware refuses; have it issued with SHA-256"
    )]
    WeakHash {
        /// The certificate.
        subject: String,
    },
    /// Below 2048 bits.
    #[error("{subject} has an RSA key of {bits} bits; at least 2048 are needed")]
    KeyTooSmall {
        /// The certificate.
        subject: String,
        /// Its size.
        bits: usize,
    },
    /// The nonces are signed with RSA.
    #[error("{subject} has a key that is not RSA; AMT takes RSA signatures only")]
    KeyNotRsa {
        /// The leaf.
        subject: String,
    },
    /// Not one of the device's roots.
    #[error(
        "the root {subject} (SHA-256 {sha256}) is not among the {entries} roots that this device trusts; use a \
         certificate of a listed CA, or add this hash in MEBx or by USB"
    )]
    RootNotListed {
        /// The root.
        subject: String,
        /// Lower-case hex.
        sha256: String,
        /// How many entries there are.
        entries: usize,
    },
    /// The hash is there under the name of another algorithm.
    #[error(
        "the root {subject} is listed as {entry}, but its {is} hash stands there as {listed_as:?}; \
         enter the hash again with the right algorithm"
    )]
    RootUnderOtherAlgorithm {
        /// The root.
        subject: String,
        /// The entry's name.
        entry: String,
        /// What the hash is.
        is: &'static str,
        /// What the entry says it is.
        listed_as: HashAlgorithm,
    },
    /// Listed and switched off.
    #[error("the root {subject} is listed as {entry}, but that entry is not active; activate it in MEBx")]
    RootInactive {
        /// The root.
        subject: String,
        /// The entry's name.
        entry: String,
    },
    /// The leaf has no name.
    #[error("{subject} has no common name; AMT compares it with the DNS suffix, so have it issued with one")]
    NoCommonName {
        /// The leaf.
        subject: String,
    },
    /// There is nothing to compare with.
    #[error(
        "the device has no DNS suffix: none is set in MEBx and its DHCP answer had no option 15; \
         set one of the two to the domain of {common_name}"
    )]
    NoSuffix {
        /// The leaf's.
        common_name: String,
    },
    /// The name is of another domain.
    #[error(
        "the certificate's name {common_name} is not in the device's domain {suffix} ({from}); \
         use a certificate for that domain, or change the suffix"
    )]
    SuffixMismatch {
        /// The leaf's.
        common_name: String,
        /// What the device has.
        suffix: String,
        /// Where from.
        from: SuffixSource,
    },
    /// No public CA issues for it.
    #[error(
        "the device's domain {suffix} ({from}) is private, no public CA issues certificates for it; set the domain of \
         your certificate as PKI DNS suffix in MEBx, or have DHCP send it"
    )]
    PrivateSuffix {
        /// What the device has.
        suffix: String,
        /// Where from.
        from: SuffixSource,
    },
    /// No cable.
    #[error("AMT's wired link is down; certificates are taken over a wired link only: connect the cable")]
    LinkDown,
    /// More than any firmware was seen to take.
    #[error(
        "the chain has {count} certificates, more than the {most} that are sent; leave out cross-signed ones"
    )]
    TooLong {
        /// How many.
        count: usize,
        /// How many may be.
        most: usize,
    },
}

impl std::fmt::Display for SuffixSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::PkiSuffix => "the PKI DNS suffix set in MEBx",
            Self::Dhcp => "from DHCP option 15, as no PKI DNS suffix is set",
        })
    }
}

fn time_text(seconds: &i64) -> String {
    ASN1Time::from_timestamp(*seconds)
        .map_or_else(|_| format!("second {seconds} since 1970"), |time| time.to_string())
}
