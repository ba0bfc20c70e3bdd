//! The store of published snapshots, as `SNAPSHOT_URL` names it. Nothing is opened or looked up here, and no error
//! repeats the text after `://`: it may hold a secret.

use std::fmt;
use std::path::{Path, PathBuf};

use percent_encoding::percent_decode_str;
use url::Url;

use super::database_url::Secret;

/// A store of published snapshots. `Display` and `Debug` hide user, keys and password.
#[derive(Clone, PartialEq)]
pub struct SnapshotUrl {
    place: StorePlace,
}

/// The kinds of stores.
#[derive(Debug, Clone, PartialEq)]
pub enum StorePlace {
    /// A folder, by its absolute path.
    Folder(PathBuf),
    /// A web server, which is only read.
    Web(WebPlace),
    /// A bucket of an S3-compatible store.
    Bucket(BucketPlace),
}

/// A folder of a web server.
#[derive(Debug, Clone, PartialEq)]
pub struct WebPlace {
    /// Its URL, which ends with `/` and holds neither user nor password.
    pub base: Url,
    /// User and password.
    pub login: Option<(Secret, Secret)>,
}

/// A bucket and the beginning of all names in it.
#[derive(Debug, Clone, PartialEq)]
pub struct BucketPlace {
    /// The server; the bucket is the first part of its paths.
    pub endpoint: Url,
    /// The region that requests are signed for.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Empty, or it ends with `/`.
    pub prefix: String,
    /// The keys; `None` for requests that are not signed.
    pub keys: Option<Keys>,
}

/// The keys for signing requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Keys {
    /// The name of the key.
    pub key: Secret,
    /// The key.
    pub secret: Secret,
    /// The token of a session.
    pub token: Option<Secret>,
}

impl SnapshotUrl {
    /// Parses a URL. `variable` returns the variables of Amazon's tools, which complete an s3 URL.
    ///
    /// # Errors
    /// If the scheme is not one of file, s3, https and http, or a part is not allowed in the
    /// scheme.
    pub fn parse(
        text: &str,
        variable: impl Fn(&'static str) -> Option<String>,
    ) -> Result<SnapshotUrl, SnapshotUrlError> {
        let (scheme, _) = text.split_once("://").ok_or(SnapshotUrlError::Scheme)?;
        let url = || Url::parse(text).map_err(|_| SnapshotUrlError::Unreadable);
        let place = match scheme {
            "file" => StorePlace::Folder(folder(text)?),
            "s3" => StorePlace::Bucket(bucket(&url()?, variable)?),
            "http" | "https" => StorePlace::Web(web(url()?)?),
            _ => return Err(SnapshotUrlError::Scheme),
        };
        Ok(SnapshotUrl { place })
    }

    /// Returns the store itself.
    pub fn place(&self) -> &StorePlace {
        &self.place
    }

    /// Returns the folder, if the store is one.
    pub fn folder(&self) -> Option<&Path> {
        match &self.place {
            StorePlace::Folder(path) => Some(path),
            StorePlace::Web(_) | StorePlace::Bucket(_) => None,
        }
    }
}

/// `file:///absolute/path`.
fn folder(text: &str) -> Result<PathBuf, SnapshotUrlError> {
    let path = text.strip_prefix("file://").filter(|path| path.starts_with('/'));
    let path = path.ok_or(SnapshotUrlError::Folder)?;
    let path = percent_decode_str(path).decode_utf8().map_err(|_| SnapshotUrlError::Folder)?;
    match path.contains('\0') {
        true => Err(SnapshotUrlError::Folder),
        false => Ok(PathBuf::from(path.as_ref())),
    }
}

fn web(mut url: Url) -> Result<WebPlace, SnapshotUrlError> {
    if url.query().is_some() || url.fragment().is_some() || url.path().contains('@') {
        return Err(SnapshotUrlError::Web);
    }
    let login = login(&url)?;
    // Neither fails if there is a host, and an http URL has one.
    let _ = (url.set_username(""), url.set_password(None));
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(WebPlace { base: url, login })
}

/// Returns the two parts before the `@`; both or none.
fn login(url: &Url) -> Result<Option<(Secret, Secret)>, SnapshotUrlError> {
    let decoded = |text: &str| {
        let text = percent_decode_str(text).decode_utf8().map_err(|_| SnapshotUrlError::Unreadable);
        text.map(|text| Secret::new(text.into_owned()))
    };
    match (url.username(), url.password()) {
        ("", None) => Ok(None),
        (user, Some(password)) if !user.is_empty() => Ok(Some((decoded(user)?, decoded(password)?))),
        _ => Err(SnapshotUrlError::Login),
    }
}

fn bucket(
    url: &Url,
    variable: impl Fn(&'static str) -> Option<String>,
) -> Result<BucketPlace, SnapshotUrlError> {
    let bucket = url.host_str().filter(|name| !name.is_empty()).ok_or(SnapshotUrlError::Bucket)?;
    // A secret with a slash ends up there.
    if url.port().is_some() || url.path().contains('@') {
        return Err(SnapshotUrlError::Unreadable);
    }
    let (mut endpoint, mut region) = (None, None);
    for (name, value) in url.query_pairs() {
        match name.as_ref() {
            "endpoint" => endpoint = Some(value.into_owned()),
            "region" => region = Some(value.into_owned()),
            other => return Err(SnapshotUrlError::Parameter(other.chars().take(40).collect())),
        }
    }
    let first = |names: &[&'static str]| names.iter().find_map(|name| variable(name));
    let region = region.or_else(|| first(&["AWS_REGION", "AWS_DEFAULT_REGION"]));
    let region = region.unwrap_or_else(|| "us-east-1".to_owned());
    if !region.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
        return Err(SnapshotUrlError::Region);
    }
    let endpoint = endpoint.or_else(|| first(&["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"]));
    let endpoint = endpoint.unwrap_or_else(|| format!("https://s3.{region}.amazonaws.com"));
    let endpoint = Url::parse(&endpoint).ok().filter(|url| ["http", "https"].contains(&url.scheme()));
    let endpoint = endpoint.filter(|url| url.username().is_empty() && url.password().is_none());
    let endpoint = endpoint.ok_or(SnapshotUrlError::Endpoint)?;
    let keys = match login(url)? {
        Some((key, secret)) => Some(Keys { key, secret, token: None }),
        None => keys_of_environment(variable),
    };
    let prefix = percent_decode_str(url.path().trim_matches('/')).decode_utf8();
    let prefix = prefix.map_err(|_| SnapshotUrlError::Unreadable)?;
    let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
    Ok(BucketPlace { endpoint, region, bucket: bucket.to_owned(), prefix, keys })
}

fn keys_of_environment(variable: impl Fn(&'static str) -> Option<String>) -> Option<Keys> {
    Some(Keys {
        key: Secret::new(variable("AWS_ACCESS_KEY_ID")?),
        secret: Secret::new(variable("AWS_SECRET_ACCESS_KEY")?),
        token: variable("AWS_SESSION_TOKEN").map(Secret::new),
    })
}

impl fmt::Display for SnapshotUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            StorePlace::Folder(path) => write!(f, "file://{}", path.display()),
            StorePlace::Web(web) => f.write_str(web.base.as_str()),
            StorePlace::Bucket(BucketPlace { endpoint, region, bucket, prefix, .. }) => {
                write!(f, "s3://{bucket}/{prefix}?endpoint={endpoint}&region={region}")
            }
        }
    }
}

impl fmt::Debug for SnapshotUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotUrl({self})")
    }
}

/// The reason why a text is not the URL of a store. No error repeats a part that may hold a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SnapshotUrlError {
    /// The scheme is missing or not supported.
    Scheme,
    /// The text is not a URL.
    Unreadable,
    /// A file URL without an absolute path.
    Folder,
    /// A web URL with a query.
    Web,
    /// A user without a password, or a password without a user.
    Login,
    /// An s3 URL without a bucket.
    Bucket,
    /// The address of the S3 server is not an http URL.
    Endpoint,
    /// The region is not a name.
    Region,
    /// A parameter after `?` that is not known.
    Parameter(String),
}

impl fmt::Display for SnapshotUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str(
                "not a URL of a store; supported are file:///absolute/folder, s3://bucket/prefix, \
                 https://host/path and http://host/path",
            ),
            Self::Unreadable => {
                f.write_str("no URL that can be read; percent-encode `/`, `@` and `:` in keys and passwords")
            }
            Self::Folder => {
                f.write_str("a file URL needs an absolute path and no host: file:///absolute/folder")
            }
            Self::Web => {
                f.write_str("an http URL of a store has no query, and `@` in its path is written %40")
            }
            Self::Login => f.write_str("before the `@` stand a name and a secret: NAME:SECRET@"),
            Self::Bucket => f.write_str("an s3 URL needs a bucket: s3://bucket/prefix"),
            Self::Endpoint => f.write_str(
                "the endpoint of the S3 server (endpoint=, AWS_ENDPOINT_URL) must be an http or https URL \
                 without keys",
            ),
            Self::Region => {
                f.write_str("the region (region=, AWS_REGION) must hold letters, digits and `-` only")
            }
            Self::Parameter(name) => {
                write!(f, "unknown parameter `{name}` in the URL of a store; known are endpoint and region")
            }
        }
    }
}

impl std::error::Error for SnapshotUrlError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<SnapshotUrl, SnapshotUrlError> {
        SnapshotUrl::parse(text, |_| None)
    }

    fn bucket_of(text: &str, variables: &[(&str, &str)]) -> BucketPlace {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        match SnapshotUrl::parse(text, variable).unwrap().place {
            StorePlace::Bucket(bucket) => bucket,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_kind_is_taken_apart_and_shown_without_secrets() {
        for (text, shown) in [
            ("file:///srv/a%20b", "file:///srv/a b"),
            ("https://host/path", "https://host/path/"),
            ("http://user:PWD@host:81", "http://host:81/"),
            (
                "s3://KEY:SEC%2FRET@music/a/b/?endpoint=http://127.0.0.1:8333&region=eu-1",
                "s3://music/a/b/?endpoint=http://127.0.0.1:8333/&region=eu-1",
            ),
            ("s3://music", "s3://music/?endpoint=https://s3.us-east-1.amazonaws.com/&region=us-east-1"),
        ] {
            let url = parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            let debug = format!("{url:?} {:?}", url.place());
            assert!(["PWD", "SEC", "KEY"].iter().all(|secret| !debug.contains(secret)), "{debug}");
        }
    }

    #[test]
    fn keys_of_the_url_win_over_the_environment() {
        let variables = [
            ("AWS_ACCESS_KEY_ID", "A"),
            ("AWS_SECRET_ACCESS_KEY", "B"),
            ("AWS_SESSION_TOKEN", "C"),
            ("AWS_REGION", "eu-2"),
            ("AWS_ENDPOINT_URL", "http://[::1]:1"),
        ];
        let bucket = bucket_of("s3://music/x", &variables);
        let keys = bucket.keys.unwrap();
        assert_eq!((keys.key.reveal(), keys.secret.reveal()), ("A", "B"));
        assert_eq!(keys.token.unwrap().reveal(), "C");
        assert_eq!((bucket.region.as_str(), bucket.endpoint.as_str()), ("eu-2", "http://[::1]:1/"));
        let bucket = bucket_of("s3://K:S%2f@music/x?region=eu-3&endpoint=https://other", &variables);
        let keys = bucket.keys.unwrap();
        assert_eq!((keys.secret.reveal(), keys.token, bucket.region.as_str()), ("S/", None, "eu-3"));
        assert_eq!(bucket.endpoint.as_str(), "https://other/");
        assert_eq!(bucket_of("s3://music", &variables[..1]).keys, None);
    }

    #[test]
    fn text_that_is_no_store_is_refused_without_repeating_it() {
        for (text, error) in [
            ("hush", SnapshotUrlError::Scheme),
            ("ftp://hush/", SnapshotUrlError::Scheme),
            ("file://hush/path", SnapshotUrlError::Folder),
            ("file:hush", SnapshotUrlError::Scheme),
            ("file:///a%00hush", SnapshotUrlError::Folder),
            ("https://host/?hush", SnapshotUrlError::Web),
            ("https://hush@host/", SnapshotUrlError::Login),
            ("s3:///hush", SnapshotUrlError::Bucket),
            ("s3://hush@music/", SnapshotUrlError::Login),
            ("s3://KEY:hu/sh@music/", SnapshotUrlError::Unreadable),
            ("s3://KEY:12/hush@music/", SnapshotUrlError::Unreadable),
            ("s3://music/?endpoint=hush", SnapshotUrlError::Endpoint),
            ("s3://music/?endpoint=http://a:hush@host", SnapshotUrlError::Endpoint),
            ("s3://music/?region=a/../hush", SnapshotUrlError::Region),
            ("s3://music/?retries=hush", SnapshotUrlError::Parameter("retries".to_owned())),
        ] {
            let refused = parse(text).unwrap_err();
            assert_eq!(refused, error, "{text}");
            assert!(!refused.to_string().contains("hu"), "{refused}");
        }
    }
}
