//! The questions of a configuration to the rest of the machine: the text of its file, the ids of a
//! user, the addresses of a host.
//!
//! Each of these may take long, or for ever: a file on a network, a directory service, a dead
//! resolver. So a process that must not wait has a child ask, by [`World::recording`], and then
//! reads its configuration with the answers, by [`World::replaying`].

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::Path;

use nix::unistd::{Gid, Group, Uid, User, getgrouplist};
use serde_json::{Value, json};

/// A question in words, such as `user "www-data"`, and its answer.
pub type Answers = BTreeMap<String, Value>;

/// The source of the answers.
pub struct World<'a> {
    source: Source<'a>,
}

enum Source<'a> {
    /// The machine.
    Live,
    /// The machine; a function gets each question and its answer.
    Recording(RefCell<Tell<'a>>),
    /// The recorded answers.
    Replaying(Answers),
}

/// A function that is called with each question, and again with its answer.
type Tell<'a> = Box<dyn FnMut(&str, Option<&Value>) + 'a>;

/// A user of the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct UserEntry {
    pub(super) name: String,
    pub(super) uid: Uid,
    pub(super) gid: Gid,
}

impl<'a> World<'a> {
    /// Creates a world that asks the machine.
    pub fn live() -> World<'static> {
        World { source: Source::Live }
    }

    /// Creates a world that asks the machine, and calls `tell` with each question, and again with
    /// its answer.
    pub fn recording(tell: impl FnMut(&str, Option<&Value>) + 'a) -> World<'a> {
        World { source: Source::Recording(RefCell::new(Box::new(tell))) }
    }

    /// Creates a world that gives the recorded answers.
    pub fn replaying(answers: Answers) -> World<'static> {
        World { source: Source::Replaying(answers) }
    }

    fn ask(&self, question: &str, live: impl FnOnce() -> Value) -> Value {
        match &self.source {
            Source::Live => live(),
            Source::Recording(tell) => {
                (tell.borrow_mut())(question, None);
                let answer = live();
                (tell.borrow_mut())(question, Some(&answer));
                answer
            }
            Source::Replaying(answers) => answers.get(question).cloned().unwrap_or_else(|| {
                // The questions depend on the answers, and on the process itself.
                failed("it was not asked for, as something has changed meanwhile; try again")
            }),
        }
    }

    /// Returns the text of a file.
    pub(super) fn text(&self, path: &Path) -> io::Result<String> {
        let answer = self.ask(&format!("file {}", path.display()), || match fs::read_to_string(path) {
            Ok(text) => json!({ "text": text }),
            Err(error) => json!({ "errno": error.raw_os_error(), "error": error.to_string() }),
        });
        let errno = answer["errno"].as_i64().and_then(|errno| i32::try_from(errno).ok());
        match (answer["text"].as_str(), errno) {
            (Some(text), _) => Ok(text.to_owned()),
            (None, Some(errno)) => Err(io::Error::from_raw_os_error(errno)),
            (None, None) => Err(io::Error::new(ErrorKind::InvalidData, failure(&answer))),
        }
    }

    /// Reports whether a file exists at a path.
    pub(super) fn exists(&self, path: &Path) -> bool {
        let answer = self.ask(&format!("path {}", path.display()), || Value::Bool(path.exists()));
        answer == Value::Bool(true)
    }

    /// Checks whether a path can be reached. This changes nothing, and the answer is not used: the
    /// process that opens the path later reports the error.
    pub fn touch(&self, path: &Path) {
        let touch = || {
            // Logs are opened in this way, which fails for a folder after the look-up.
            let file = fs::OpenOptions::new().append(true).open(path).or_else(|_| fs::File::open(path));
            Value::Bool(file.is_ok())
        };
        if matches!(self.source, Source::Recording(_)) {
            self.ask(&format!("file {}", path.display()), touch);
        }
    }

    pub(super) fn user(&self, name: &str) -> io::Result<Option<UserEntry>> {
        user(&self.ask(&format!("user {name:?}"), || user_answer(User::from_name(name))))
    }

    pub(super) fn user_of(&self, uid: Uid) -> io::Result<Option<UserEntry>> {
        user(&self.ask(&format!("user {uid}"), || user_answer(User::from_uid(uid))))
    }

    pub(super) fn group(&self, name: &str) -> io::Result<Option<Gid>> {
        let answer = self.ask(&format!("group {name:?}"), || match Group::from_name(name) {
            Ok(group) => json!({ "gid": group.map(|group| group.gid.as_raw()) }),
            Err(errno) => failed(errno),
        });
        match answer.get("gid") {
            Some(gid) => Ok(number(gid).map(Gid::from_raw)),
            None => Err(failure(&answer)),
        }
    }

    pub(super) fn group_name(&self, gid: Gid) -> Option<String> {
        let answer = self.ask(
            &format!("group {gid}"),
            || json!({ "name": Group::from_gid(gid).ok().flatten().map(|group| group.name) }),
        );
        answer["name"].as_str().map(str::to_owned)
    }

    /// Returns all groups of a user, with `gid` among them.
    pub(super) fn groups(&self, user: &str, gid: Gid) -> io::Result<Vec<Gid>> {
        let answer = self.ask(&format!("groups of user {user:?}"), || {
            let groups = CString::new(user)
                .map_err(io::Error::other)
                .and_then(|user| getgrouplist(&user, gid).map_err(io::Error::other));
            match groups {
                Ok(groups) => json!({ "groups": groups.iter().map(|gid| gid.as_raw()).collect::<Vec<_>>() }),
                Err(error) => failed(error),
            }
        });
        match answer["groups"].as_array() {
            Some(groups) => Ok(groups.iter().filter_map(number).map(Gid::from_raw).collect()),
            None => Err(failure(&answer)),
        }
    }

    /// Returns the addresses of a host, which may be an address itself, in the resolver's order.
    ///
    /// # Errors
    /// The error of the resolver.
    pub fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![(address, port).into()]);
        }
        let answer = self.ask(&format!("host {host:?}"), || match (host, port).to_socket_addrs() {
            Ok(found) => json!({ "addresses": found.map(|address| address.to_string()).collect::<Vec<_>>() }),
            Err(error) => failed(error),
        });
        let Some(found) = answer["addresses"].as_array() else {
            return Err(failure(&answer));
        };
        let with_port = |text: &Value| {
            let mut address: SocketAddr = text.as_str()?.parse().ok()?;
            address.set_port(port);
            Some(address)
        };
        Ok(found.iter().filter_map(with_port).collect())
    }
}

fn failed(error: impl std::fmt::Display) -> Value {
    json!({ "error": error.to_string() })
}

/// Returns the error in an answer that has no value.
fn failure(answer: &Value) -> io::Error {
    io::Error::other(answer["error"].as_str().unwrap_or("there was no answer"))
}

fn number(value: &Value) -> Option<u32> {
    u32::try_from(value.as_u64()?).ok()
}

fn user_answer(found: nix::Result<Option<User>>) -> Value {
    match found {
        Ok(found) => json!({ "user": found.map(|user| json!({
            "name": user.name,
            "uid": user.uid.as_raw(),
            "gid": user.gid.as_raw(),
        })) }),
        Err(errno) => failed(errno),
    }
}

fn user(answer: &Value) -> io::Result<Option<UserEntry>> {
    let Some(user) = answer.get("user") else { return Err(failure(answer)) };
    let entry = || {
        let name = user["name"].as_str()?.to_owned();
        Some(UserEntry {
            name,
            uid: Uid::from_raw(number(&user["uid"])?),
            gid: Gid::from_raw(number(&user["gid"])?),
        })
    };
    Ok(entry())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the answers of a live world to `ask`.
    fn recorded(ask: impl Fn(&World<'_>)) -> Answers {
        let answers = RefCell::new(Answers::new());
        let world = World::recording(|question, answer| {
            if let Some(answer) = answer {
                answers.borrow_mut().insert(question.to_owned(), answer.clone());
            }
        });
        ask(&world);
        drop(world);
        answers.into_inner()
    }

    #[test]
    fn replayed_answers_are_those_that_were_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let [there, binary] = ["there", "binary"].map(|name| folder.path().join(name));
        fs::write(&there, "text").unwrap();
        fs::write(&binary, b"\xff").unwrap();
        let missing = folder.path().join("missing");
        let ask = |world: &World<'_>| {
            let text = |path: &Path| world.text(path).map_err(|error| error.to_string());
            format!(
                "{:?}",
                (
                    [&there, &binary, &missing].map(|path| text(path)),
                    (world.user("root"), world.user("nobody-at-all"), world.user_of(Uid::from_raw(0))),
                    (world.group("root"), world.group("none-at-all"), world.group_name(Gid::from_raw(0))),
                    world.groups("root", Gid::from_raw(0)),
                    [&there, &missing].map(|path| world.exists(path)),
                    world.addresses("localhost", 80).map_err(|error| error.to_string()),
                    world.addresses("::1", 80).map_err(|error| error.to_string()),
                )
            )
        };
        let live = ask(&World::live());
        let answers = recorded(|world| drop(ask(world)));
        fs::remove_file(&there).unwrap();
        assert_eq!(ask(&World::replaying(answers)), live);
        assert!(live.contains("\"text\"") && live.contains("[::1]:80"), "{live}");
    }

    #[test]
    fn question_without_a_recorded_answer_is_an_error() {
        let world = World::replaying(Answers::new());
        assert!(world.text(Path::new("/etc/hostname")).unwrap_err().to_string().contains("try again"));
        assert!(world.user("root").is_err() && world.addresses("localhost", 1).is_err());
    }
}
