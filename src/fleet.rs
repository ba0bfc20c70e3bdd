//! Several servers of one collection, seen from outside: the rows of each, and whether all serve
//! the same.
//!
//! The caller names the servers, and [`Fleet::ask`] asks all of them at once for their `status` over HTTP.
//! The program keeps no list of servers, and servers do not talk to each other for it.

use std::collections::BTreeSet;
use std::error::Error;
use std::fmt;
use std::thread;
use std::time::Duration;

use hyper::Uri;
use serde::{Deserialize, Serialize};

use crate::cli::chain;
use crate::control::SourceStatus;

/// Longest time for the answer of one server, from the look-up of its name to the last byte.
const PATIENCE: Duration = Duration::from_secs(5);
/// Upper bound of the bytes of a status; a real one has a few hundred bytes for each worker.
const STATUS_MAX: u64 = 1 << 20;
/// The path of the API if the URL has none.
const REQUEST_PATH: &str = "/avalon";

/// The URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrl(Uri);

/// Text that is not the URL of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeUrlError(&'static str);

impl std::str::FromStr for NodeUrl {
    type Err = NodeUrlError;

    /// Parses `HOST[:PORT]`, or a URL with `http` or `https` whose path, if there is one, is the
    /// `REQUEST_PATH` of that server.
    fn from_str(text: &str) -> Result<NodeUrl, NodeUrlError> {
        let whole = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
        let uri: Uri =
            whole.parse().map_err(|_| NodeUrlError("expected HOST, HOST:PORT or http(s)://HOST/PATH"))?;
        match (uri.scheme_str(), uri.authority(), uri.query()) {
            (Some("http" | "https"), Some(authority), None) if authority.as_str().contains('@') => {
                Err(NodeUrlError("a user and a password cannot be sent: leave them out"))
            }
            (Some("http" | "https"), Some(_), None) => Ok(NodeUrl(uri)),
            (Some("http" | "https"), _, Some(_)) => Err(NodeUrlError("a server has no ?query")),
            _ => Err(NodeUrlError("expected http:// or https://")),
        }
    }
}

impl fmt::Display for NodeUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for NodeUrlError {}

impl fmt::Display for NodeUrl {
    /// Writes the URL, without the path if that is `/`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.to_string().trim_end_matches('/'))
    }
}

impl NodeUrl {
    fn status(&self) -> String {
        let path = self.0.path().trim_end_matches('/');
        let path = if path.is_empty() { REQUEST_PATH } else { path };
        let base = self.to_string();
        let root = base.strip_suffix(self.0.path().trim_end_matches('/')).unwrap_or(&base);
        format!("{root}{path}/status")
    }
}

/// The status of a server; fields that an older server lacks are missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct NodeStatus {
    /// Version of the program.
    pub version: String,
    /// Hash of the served rows, in hexadecimal digits.
    pub hash: String,
    /// Revision of these rows in the database, if known.
    pub revision: Option<u64>,
    /// Number of served songs.
    pub songs: u64,
    /// The server's view of the database.
    pub source: SourceStatus,
}

/// A server and its answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Node {
    /// The URL as the caller wrote it.
    pub url: String,
    /// The status of the server.
    pub status: Option<NodeStatus>,
    /// The reason why the status is unknown.
    pub error: Option<String>,
}

/// The servers, in the order of the caller.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Fleet {
    /// Whether all servers have answered, serve the same rows, and are not stale.
    pub is_equal: bool,
    /// The servers.
    pub nodes: Vec<Node>,
}

impl Fleet {
    /// Asks all servers.
    pub fn ask(urls: &[NodeUrl]) -> Fleet {
        let nodes = thread::scope(|scope| {
            let asking: Vec<_> = urls.iter().map(|url| scope.spawn(|| ask(&url.status()))).collect();
            asking.into_iter().map(|answer| answer.join()).collect::<Vec<_>>()
        });
        let node = |(url, answer): (&NodeUrl, thread::Result<_>)| {
            let (status, error) = match answer.unwrap_or(Err(NodeError::Panic)) {
                Ok(status) => (Some(status), None),
                Err(error) => (None, Some(chain(&error))),
            };
            Node { url: url.to_string(), status, error }
        };
        Fleet::of(urls.iter().zip(nodes).map(node).collect())
    }

    fn of(nodes: Vec<Node>) -> Fleet {
        let is_fresh = |node: &Node| node.status.as_ref().is_some_and(|status| !status.source.stale);
        let is_equal = nodes.iter().all(is_fresh) && hashes(&nodes).len() <= 1;
        Fleet { is_equal, nodes }
    }

    /// Returns the last line of the table, which says whether the servers agree.
    fn verdict(&self) -> String {
        let count = self.nodes.len();
        let silent = self.nodes.iter().filter(|node| node.status.is_none()).count();
        let stale =
            self.nodes.iter().filter_map(|node| node.status.as_ref()).filter(|status| status.source.stale);
        let mut faults = Vec::new();
        match hashes(&self.nodes).len() {
            0 | 1 => {}
            several => faults.push(format!("{several} different collections are served")),
        }
        match silent {
            0 => {}
            silent => faults.push(format!("{silent} of {count} show no status")),
        }
        match stale.count() {
            0 => {}
            stale => faults.push(format!("{stale} of {count} may be stale")),
        }
        match faults.is_empty() {
            true => format!("{count} of {count} serve the same collection"),
            false => faults.join("; "),
        }
    }
}

fn hashes(nodes: &[Node]) -> BTreeSet<&str> {
    nodes.iter().filter_map(|node| node.status.as_ref()).map(|status| status.hash.as_str()).collect()
}

/// The reason why a server's status is unknown.
#[derive(Debug)]
enum NodeError {
    NoAnswer(ureq::Error),
    NotFound { url: String },
    Code { url: String, code: u16 },
    NoStatus { url: String, source: serde_json::Error },
    NoHash { url: String },
    Panic,
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NodeError::NoAnswer(error) => error.fmt(f),
            NodeError::NotFound { url } => write!(
                f,
                "404 at {url}: its STATUS_ALLOW does not name this machine, a proxy is in between, or its \
                 REQUEST_PATH is another one, which belongs into the URL"
            ),
            NodeError::Code { url, code } => write!(f, "{code} at {url}"),
            NodeError::NoStatus { url, .. } => write!(f, "the answer at {url} is no status"),
            NodeError::NoHash { url } => write!(f, "the answer at {url} is no status: it names no hash"),
            NodeError::Panic => f.write_str("the thread that asks has panicked"),
        }
    }
}

impl Error for NodeError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            NodeError::NoAnswer(error) => error.source(),
            NodeError::NoStatus { source, .. } => Some(source),
            _ => None,
        }
    }
}

/// Asks the server at this URL for its status.
fn ask(url: &str) -> Result<NodeStatus, NodeError> {
    // The request ignores proxies of the environment, which could answer for the servers.
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(PATIENCE))
        .http_status_as_error(false)
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let mut answer = agent.get(url).call().map_err(NodeError::NoAnswer)?;
    let url = url.to_owned();
    match answer.status().as_u16() {
        200 => {}
        404 => return Err(NodeError::NotFound { url }),
        code => return Err(NodeError::Code { url, code }),
    }
    let text =
        answer.body_mut().with_config().limit(STATUS_MAX).read_to_string().map_err(NodeError::NoAnswer)?;
    match serde_json::from_str::<NodeStatus>(&text) {
        Ok(status) if status.hash.is_empty() => Err(NodeError::NoHash { url }),
        Ok(status) => Ok(status),
        Err(source) => Err(NodeError::NoStatus { url, source }),
    }
}

/// Writes the servers as a table, with the verdict as its last line.
impl fmt::Display for Fleet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width =
            self.nodes.iter().map(|node| node.url.chars().count()).max().unwrap_or(0).max("server".len());
        writeln!(
            f,
            "{:width$}  {:10} {:>10} {:32} {:>10} {:>9} {:>5}",
            "server", "version", "revision", "hash", "songs", "read ago", "stale"
        )?;
        for Node { url, status, error } in &self.nodes {
            match status {
                Some(NodeStatus { version, hash, revision, songs, source }) => {
                    let revision = revision.map_or("-".to_owned(), |revision| revision.to_string());
                    let age = source.age.map_or("never".to_owned(), |age| format!("{age:.0} s"));
                    let stale = if source.stale { "yes" } else { "no" };
                    writeln!(
                        f,
                        "{url:width$}  {version:10} {revision:>10} {hash:32} {songs:>10} {age:>9} {stale:>5}"
                    )?;
                }
                None => writeln!(f, "{url:width$}  {}", error.as_deref().unwrap_or("no answer"))?,
            }
        }
        for Node { url, status, .. } in &self.nodes {
            let reason = status
                .as_ref()
                .filter(|status| status.source.stale)
                .and_then(|status| status.source.reason.as_ref());
            if let Some(reason) = reason {
                writeln!(f, "{url}: {reason}")?;
            }
        }
        writeln!(f, "{}", self.verdict())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, hash: Option<&str>, stale: bool) -> Node {
        let status = hash.map(|hash| NodeStatus {
            version: "1.1.0".to_owned(),
            hash: hash.to_owned(),
            revision: Some(7),
            songs: 30,
            source: SourceStatus {
                stale,
                age: Some(2.4),
                reason: stale.then(|| "gone".to_owned()),
                ..Default::default()
            },
        });
        let error = status.is_none().then(|| "refused".to_owned());
        Node { url: name.to_owned(), status, error }
    }

    #[test]
    fn servers_are_named_in_short_and_in_full() {
        for (text, status) in [
            ("one", "http://one/avalon/status"),
            ("one:8000", "http://one:8000/avalon/status"),
            ("[::1]:8000", "http://[::1]:8000/avalon/status"),
            ("http://one:8000/", "http://one:8000/avalon/status"),
            ("https://one/a/b/", "https://one/a/b/status"),
            ("http://one/music", "http://one/music/status"),
        ] {
            let url: NodeUrl = text.parse().unwrap();
            assert_eq!(url.status(), status, "{text}");
        }
        for text in [
            "",
            "ftp://one",
            "http://",
            "one two",
            "http://user:secret@one/",
            "http://one/a?b",
            "/run/avalon",
        ] {
            let error = text.parse::<NodeUrl>().unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn servers_are_equal_if_all_answer_with_the_same_fresh_rows() {
        let fleet = |nodes: &[Node]| Fleet::of(nodes.to_vec());
        let (a, b) = (node("a", Some("0f"), false), node("b", Some("0f"), false));
        let equal = fleet(&[a.clone(), b]);
        assert!(equal.is_equal);
        assert!(equal.to_string().ends_with("\n2 of 2 serve the same collection\n"), "{equal}");
        for (other, verdict) in [
            (node("b", Some("1f"), false), "2 different collections are served"),
            (node("b", None, false), "1 of 2 show no status"),
            (node("b", Some("0f"), true), "b: gone\n1 of 2 may be stale"),
            (node("b", Some("1f"), true), "2 different collections are served; 1 of 2 may be stale"),
        ] {
            let fleet = fleet(&[a.clone(), other]);
            assert!(!fleet.is_equal && fleet.to_string().ends_with(&format!("\n{verdict}\n")), "{fleet}");
        }
    }

    #[test]
    fn table_has_a_line_for_each_server() {
        let fleet = Fleet::of(vec![node("http://one:8000", Some("00ff"), false), node("two", None, false)]);
        let table = fleet.to_string();
        let lines: Vec<&str> = table.lines().collect();
        assert_eq!(
            lines[0],
            "server           version      revision hash                                  songs  read ago stale"
        );
        assert_eq!(
            lines[1],
            "http://one:8000  1.1.0               7 00ff                                     30       2 s    no"
        );
        assert_eq!(lines[2], "two              refused");
    }
}
