//! What the environment says of a service, looked at before its client does: the client panics at a setting that fits
//! into no header, or no URL. No refusal shows a setting, which may be a credential.

use std::{
    ffi::{OsStr, OsString},
    str::FromStr,
};

use http::Uri;
#[cfg(feature = "azure")]
use object_store::azure::AzureConfigKey;
use object_store::{ClientConfigKey, aws::AmazonS3ConfigKey};
use reqwest::Url;
use store_api::{Error, ErrorKind, Result};

/// Variables, as the system has them.
pub(crate) type Variables = [(OsString, OsString)];

/// What the client does with a setting.
#[derive(Clone, Copy)]
pub(crate) enum Usage {
    /// It is where the objects are.
    Endpoint,
    /// It asks there for a credential.
    Url,
    /// It stands behind this, and both are a URL.
    Behind(&'static str),
    /// It names a file, or is one.
    File,
    /// It may become a header.
    Line,
}

/// The settings of one service.
pub(crate) trait Setting: FromStr {
    /// What the names of its variables begin with.
    const PREFIX: &str;

    fn usage(&self) -> Usage;
}

impl Setting for AmazonS3ConfigKey {
    const PREFIX: &str = "AWS_";

    fn usage(&self) -> Usage {
        match self {
            Self::Endpoint | Self::S3Endpoint => Usage::Endpoint,
            Self::StsEndpoint | Self::MetadataEndpoint | Self::ContainerCredentialsFullUri => Usage::Url,
            Self::ContainerCredentialsRelativeUri => Usage::Behind("http://169.254.170.2"),
            Self::ContainerAuthorizationTokenFile | Self::WebIdentityTokenFile => Usage::File,
            Self::Client(key) => usage_of_client(*key),
            _ => Usage::Line,
        }
    }
}

#[cfg(feature = "azure")]
impl Setting for AzureConfigKey {
    const PREFIX: &str = "AZURE_";

    fn usage(&self) -> Usage {
        match self {
            Self::Endpoint => Usage::Endpoint,
            Self::AuthorityHost | Self::MsiEndpoint | Self::FabricTokenServiceUrl => Usage::Url,
            Self::AuthorityId => Usage::Behind("https://login.microsoftonline.com/"),
            Self::FederatedTokenFile => Usage::File,
            Self::Client(key) => usage_of_client(*key),
            _ => Usage::Line,
        }
    }
}

fn usage_of_client(key: ClientConfigKey) -> Usage {
    if key == ClientConfigKey::ProxyCaCertificate { Usage::File } else { Usage::Line }
}

/// The settings of a service in the environment. A variable that is empty is not set, unless it is an endpoint: what is
/// meant for another service does not go to the provider's. `skips` says which are not used.
pub(crate) fn settings<K: Setting>(variables: &Variables, skips: impl Fn(&K) -> bool) -> Result<Vec<(K, String)>> {
    let read = |(name, value): &(OsString, OsString)| {
        let name = name.to_str().filter(|name| name.starts_with(K::PREFIX))?;
        let key: K = name.to_ascii_lowercase().parse().ok().filter(|key| !skips(key))?;
        let usage = key.usage();
        if value.is_empty() && !matches!(usage, Usage::Endpoint) {
            return None;
        }
        Some(checked(name, value, usage).map(|value| (key, value)))
    };
    variables.iter().filter_map(read).collect()
}

/// What stands in variables of Azure's that have names of their own: where the machine is asked for credentials. The
/// client reads the others by itself.
#[cfg(feature = "azure")]
pub(crate) fn identity_endpoint(variables: &Variables) -> Result<Option<String>> {
    let read = |name: &str, usage| {
        let set = variables.iter().find(|(set, value)| set == name && !value.is_empty());
        set.map(|(_, value)| checked(name, value, usage)).transpose()
    };
    read("IDENTITY_HEADER", Usage::Line)?;
    read("AZURITE_BLOB_STORAGE_URL", Usage::Url)?;
    read("IDENTITY_ENDPOINT", Usage::Url)
}

/// The value of a variable that can be used like this.
fn checked(name: &str, value: &OsStr, usage: Usage) -> Result<String> {
    let Some(value) = value.to_str() else { return Err(invalid(format!("`{name}` is no text"))) };
    let is_line = value.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    match usage {
        Usage::Endpoint => check_endpoint(value, &format!("`{name}`"))?,
        Usage::Url if !is_url(value) => {
            return Err(invalid(format!("`{name}` is no URL that begins with `http://` or `https://`")));
        }
        Usage::Behind(beginning) if !is_url(&format!("{beginning}{value}")) => {
            return Err(invalid(format!("`{name}` cannot be a part of a URL")));
        }
        Usage::Line if !is_line => {
            return Err(invalid(format!("`{name}` has a line break, or another character that no header can have")));
        }
        Usage::Url | Usage::Behind(_) | Usage::File | Usage::Line => {}
    }
    Ok(value.to_owned())
}

/// A credential in an endpoint would be shown by whoever shows the address (E2).
pub(crate) fn check_endpoint(endpoint: &str, origin: &str) -> Result<()> {
    if endpoint.contains(['@', '?', '#']) {
        return Err(invalid(format!(
            "an endpoint holds no `@`, `?` and `#`, as {origin} does: credentials come from the environment"
        )));
    }
    if !is_url(endpoint) {
        return Err(invalid(format!(
            "an endpoint is a URL, as {origin} is not: write `http://127.0.0.1:9000`, or `https://s3.example.org`"
        )));
    }
    Ok(())
}

/// Whether the client can send a request there. It reads an address in both ways.
pub(crate) fn is_url(text: &str) -> bool {
    let is_sent = |url: Url| ["http", "https"].contains(&url.scheme()) && url.has_host();
    let Ok(uri) = text.parse::<Uri>() else { return false };
    Url::parse(&uri.to_string()).is_ok_and(is_sent)
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidInput, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is no endpoint, and was sent a request all the same.
    const NO_ENDPOINTS: [&str; 16] = [
        "",
        "127.0.0.1:28431",
        "localhost:28431",
        "localhost",
        "http://",
        "http:///path",
        "/tmp/x",
        "http://127.0.0.1:99999",
        "http://[::1",
        "http://h:1:5",
        "http://1.2.3.4.5",
        "http://xn--a",
        "http://a b",
        "http://\u{e9}",
        "ftp://host",
        "mailto:somebody",
    ];

    fn variables(pairs: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
        pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
    }

    fn refusal<K: Setting>(name: &str, value: &str) -> String {
        let read = settings::<K>(&variables(&[(name, value)]), |_| false);
        let Err(refused) = read else { panic!("{name}={value:?} is taken") };
        assert_eq!(refused.kind(), ErrorKind::InvalidInput);
        format!("{refused} {refused:?}")
    }

    fn is_taken<K: Setting>(name: &str, value: &str) -> bool {
        settings::<K>(&variables(&[(name, value)]), |_| false).is_ok_and(|read| read.len() == 1)
    }

    #[test]
    fn e1_an_endpoint_is_a_url() {
        for name in ["AWS_ENDPOINT", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"] {
            for endpoint in NO_ENDPOINTS {
                let shown = refusal::<AmazonS3ConfigKey>(name, endpoint);
                assert!(shown.contains(&format!("`{name}`")) && shown.contains("http://127.0.0.1:9000"), "{shown}");
            }
            for endpoint in
                ["http://127.0.0.1:9000", "HTTP://localhost", "https://s3.example.org/path/", "http://[::1]:1"]
            {
                assert!(is_taken::<AmazonS3ConfigKey>(name, endpoint), "{endpoint}");
            }
        }
    }

    #[test]
    fn e2_an_endpoint_with_a_credential_is_refused_and_not_shown() {
        for endpoint in ["https://user:hidden@host", "https://host/?sig=hidden", "https://host/#hidden"] {
            let shown = refusal::<AmazonS3ConfigKey>("AWS_ENDPOINT_URL", endpoint);
            assert!(shown.contains("`AWS_ENDPOINT_URL`") && !shown.contains("hidden"), "{shown}");
            let refused = check_endpoint(endpoint, "the option `endpoint`").unwrap_err();
            assert!(!format!("{refused} {refused:?}").contains("hidden"));
        }
    }

    #[test]
    fn e1_what_asks_for_a_credential_is_a_url() {
        for name in ["AWS_ENDPOINT_URL_STS", "AWS_METADATA_ENDPOINT", "AWS_CONTAINER_CREDENTIALS_FULL_URI"] {
            for url in NO_ENDPOINTS.into_iter().filter(|url| !url.is_empty()) {
                assert!(refusal::<AmazonS3ConfigKey>(name, url).contains(name));
            }
            assert!(is_taken::<AmazonS3ConfigKey>(name, "http://169.254.170.23/v1/credentials?a=b"));
        }
        let relative = "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI";
        assert!(refusal::<AmazonS3ConfigKey>(relative, ":x").contains(relative));
        assert!(is_taken::<AmazonS3ConfigKey>(relative, "/v2/credentials/abc"));
    }

    #[test]
    fn e1_a_setting_that_no_header_can_have_is_refused_and_not_shown() {
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_SSE_KMS_KEY_ID"] {
            for value in ["hidden\n", "hid\rden", "hidden\u{e9}", "\u{7f}hidden", "\thidden"] {
                let shown = refusal::<AmazonS3ConfigKey>(name, value);
                assert!(shown.contains(name) && !shown.contains("hidden"), "{shown}");
            }
            assert!(is_taken::<AmazonS3ConfigKey>(name, "AKIA+/=2 x"));
        }
        assert!(is_taken::<AmazonS3ConfigKey>("AWS_WEB_IDENTITY_TOKEN_FILE", "/tmp/d\u{e9}j\u{e0}"));
        assert!(is_taken::<AmazonS3ConfigKey>("AWS_PROXY_CA_CERTIFICATE", "-----BEGIN CERTIFICATE-----\nMII\n"));
    }

    #[test]
    fn a_variable_that_is_empty_or_not_known_is_not_set() {
        let empty = variables(&[("AWS_SECRET_ACCESS_KEY", ""), ("AWS_PAGER", "\n"), ("OTHER", "x")]);
        assert!(settings::<AmazonS3ConfigKey>(&empty, |_| false).unwrap().is_empty());
    }

    #[cfg(unix)]
    #[test]
    fn e1_a_setting_that_is_no_text_is_refused() {
        use std::os::unix::ffi::OsStringExt;

        let secret = [("AWS_SECRET_ACCESS_KEY".into(), OsString::from_vec(vec![b'x', 0xff]))];
        assert!(settings::<AmazonS3ConfigKey>(&secret, |_| false).is_err());
    }

    #[cfg(feature = "azure")]
    #[test]
    fn e1_the_settings_of_azure_are_looked_at_alike() {
        for name in ["AZURE_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_AUTHORITY_HOST", "AZURE_MSI_ENDPOINT"] {
            for url in NO_ENDPOINTS.into_iter().filter(|url| !url.is_empty()) {
                assert!(refusal::<AzureConfigKey>(name, url).contains(name));
            }
        }
        for name in [
            "AZURE_STORAGE_ACCOUNT_NAME",
            "AZURE_STORAGE_ACCOUNT_KEY",
            "AZURE_STORAGE_SAS_TOKEN",
            "AZURE_STORAGE_TOKEN",
            "AZURE_TENANT_ID",
            "AZURE_FABRIC_SESSION_TOKEN",
        ] {
            let shown = refusal::<AzureConfigKey>(name, "hidden\n\u{e9}");
            assert!(shown.contains(name) && !shown.contains("hidden"), "{shown}");
        }
        assert!(refusal::<AzureConfigKey>("AZURE_TENANT_ID", "a b").contains("AZURE_TENANT_ID"));
        for (name, value) in
            [("IDENTITY_ENDPOINT", "x"), ("IDENTITY_HEADER", "\n"), ("AZURITE_BLOB_STORAGE_URL", "data:x")]
        {
            let refused = identity_endpoint(&variables(&[(name, value)])).unwrap_err();
            assert!(refused.to_string().contains(name), "{refused}");
        }
    }
}
