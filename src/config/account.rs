//! `USER` and `GROUP`: the account that workers and the loader run as.

use std::io;

use nix::unistd::{Gid, Uid};

use super::error::ConfigError;
use super::layers::Layers;
use super::problem::{Principal, Problem};
use super::typed;
use super::world::{UserEntry, World};

/// The account that workers and the loader run as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: Uid,
    /// Group id.
    pub gid: Gid,
    /// All groups: of a user without an entry only the primary one above.
    pub groups: Vec<Gid>,
}

/// Returns user and group that workers and the loader run as, by name if there is one; without an
/// account, those of this process.
pub(super) fn names(account: Option<&Account>, world: &World<'_>) -> (String, String) {
    let own = || (Uid::effective(), Gid::effective());
    let (uid, gid) = account.map_or_else(own, |account| (account.uid, account.gid));
    let user = world.user_of(uid).ok().flatten().map(|user| user.name);
    let group = world.group_name(gid);
    (user.unwrap_or_else(|| uid.to_string()), group.unwrap_or_else(|| gid.to_string()))
}

/// Returns a note if a user without GROUP brings another primary group than under Gunicorn.
pub(super) fn note(layers: &Layers, account: Option<&Account>) -> Result<Option<String>, ConfigError> {
    let account = account.filter(|account| account.gid != Gid::effective());
    let Some(account) = account else { return Ok(None) };
    let told = || {
        format!("GROUP is {}, the group of USER; with Gunicorn it is the group of the master", account.gid)
    };
    Ok(layers.string("GROUP")?.is_empty().then(told))
}

/// Looks up USER and GROUP. A user without GROUP brings its own group, and a number needs no entry
/// in the user database.
pub(super) fn account(layers: &Layers, world: &World<'_>) -> Result<Option<Account>, ConfigError> {
    let user = layers.string("USER")?;
    let group = layers.string("GROUP")?;
    if user.is_empty() && group.is_empty() {
        return Ok(None);
    }
    let entry = if user.is_empty() { Ok(None) } else { find_user(&user, world) };
    let entry = entry.map_err(|problem| typed::wrong("USER", layers.get("USER"), problem))?;
    let gid = if group.is_empty() { Ok(None) } else { find_group(&group, world).map(Some) };
    let gid = gid.map_err(|problem| typed::wrong("GROUP", layers.get("GROUP"), problem))?;
    let own_group = entry.as_ref().and_then(|(_, own)| own.as_ref().map(|entry| entry.gid));
    let uid = entry.as_ref().map_or_else(Uid::effective, |(uid, _)| *uid);
    let gid = gid.or(own_group).unwrap_or_else(Gid::effective);
    if uid == Uid::effective() && gid == Gid::effective() {
        return Ok(None);
    }
    if !Uid::effective().is_root() {
        let key = if user.is_empty() { "GROUP" } else { "USER" };
        return Err(typed::wrong(key, layers.get(key), Problem::NotRoot));
    }
    let groups = match entry.and_then(|(_, own)| own) {
        Some(own) => world.groups(&own.name, gid),
        None => Ok(vec![gid]),
    };
    let groups = groups.map_err(|error| typed::wrong("USER", layers.get("USER"), Problem::Groups(error)))?;
    Ok(Some(Account { uid, gid, groups }))
}

fn find_user(text: &str, world: &World<'_>) -> Result<Option<(Uid, Option<UserEntry>)>, Problem> {
    let failed = |source| look_up(Principal::User, text, source);
    if let Ok(number) = text.parse() {
        let uid = Uid::from_raw(number);
        return Ok(Some((uid, world.user_of(uid).map_err(failed)?)));
    }
    match world.user(text).map_err(failed)? {
        Some(user) => Ok(Some((user.uid, Some(user)))),
        None => Err(Problem::Missing(Principal::User, text.to_owned())),
    }
}

fn find_group(text: &str, world: &World<'_>) -> Result<Gid, Problem> {
    if let Ok(number) = text.parse() {
        return Ok(Gid::from_raw(number));
    }
    let found = world.group(text).map_err(|source| look_up(Principal::Group, text, source))?;
    found.ok_or_else(|| Problem::Missing(Principal::Group, text.to_owned()))
}

fn look_up(principal: Principal, name: &str, source: io::Error) -> Problem {
    Problem::LookUp { principal, name: name.to_owned(), source }
}
