//! A bucket of an S3-compatible store. `rusty_s3` signs the URLs, and this file sends the requests.

use std::cell::Cell;
use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::time::{Duration, SystemTime};

use rusty_s3::actions::ListObjectsV2;
use rusty_s3::{Bucket as Place, Credentials, S3Action, UrlStyle};
use ureq::http::{HeaderName, StatusCode, header};
use ureq::{Agent, AsSendBody};

use super::error::StoreError;
use super::http::{agent, reading, refusal, small, text, unanswered};
use super::object::prefix;
use super::store::{Listed, Reading, Small, Source, Store, Tag};
use crate::config::BucketPlace;

/// The time for which a signature is valid.
pub(super) const SIGNED_FOR: Duration = Duration::from_secs(3600);
/// Longest time for which a store may work on an object after it has received all of it.
pub(super) const STORED_WITHIN: Duration = Duration::from_secs(120);
/// Bytes of a part of a larger object (`parts.rs`), which are in memory during the request.
pub(super) const PART_LEN: u64 = 8 << 20;
/// The content of the object with which the program tests conditions, and a tag that this object never has.
const PROBE: &[u8] = b"avalon tries whether this store keeps conditions\n";
const NO_TAG: &str = "\"00000000000000000000000000000000\"";
/// Most pages of a list, of a thousand objects each.
const PAGES_MAX: usize = 100;

/// A bucket as a store.
pub(super) struct Bucket {
    pub(super) agent: Agent,
    pub(super) place: Place,
    prefix: String,
    pub(super) credentials: Option<Credentials>,
    /// Whether it refuses requests that have a condition, as stores that lack conditions may. Then none is sent.
    refuses_conditions: Cell<bool>,
}

impl Bucket {
    /// # Errors
    /// The bucket's name cannot be part of a URL.
    pub(super) fn new(place: &BucketPlace) -> Result<Self, StoreError> {
        let BucketPlace { endpoint, region, bucket, prefix, keys } = place;
        let credentials = keys.as_ref().map(|keys| {
            let (key, secret) = (keys.key.reveal(), keys.secret.reveal());
            match &keys.token {
                Some(token) => Credentials::new_with_token(key, secret, token.reveal()),
                None => Credentials::new(key, secret),
            }
        });
        let place = Place::new(endpoint.clone(), UrlStyle::Path, bucket.clone(), region.clone());
        let place = place.map_err(|error| StoreError::Refused(error.to_string()))?;
        Ok(Bucket {
            agent: agent(),
            place,
            prefix: prefix.clone(),
            credentials,
            refuses_conditions: Cell::new(false),
        })
    }

    fn name(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// Writes an object; the result says whether the condition held.
    fn write(
        &self,
        key: &str,
        body: impl AsSendBody,
        condition: Option<(HeaderName, &str)>,
    ) -> Result<bool, StoreError> {
        let name = self.name(key);
        let url = self.place.put_object(self.credentials.as_ref(), &name).sign(SIGNED_FOR);
        let mut request = self.agent.put(url.as_str());
        let condition = condition.filter(|_| !self.refuses_conditions.get());
        let has_condition = condition.is_some();
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let request = request.config().timeout_recv_response(Some(STORED_WITHIN)).build();
        let response = request.send(body).map_err(|error| unanswered(&error))?;
        match response.status() {
            status if status.is_success() => Ok(true),
            StatusCode::NOT_IMPLEMENTED if has_condition => Err(StoreError::NoConditions),
            // Amazon answers CONFLICT when two writers meet.
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(false),
            _ => Err(refusal(response)),
        }
    }

    fn write_file(
        &self,
        key: &str,
        content: &File,
        condition: Option<(HeaderName, &str)>,
    ) -> Result<bool, StoreError> {
        let failed = |error| StoreError::File("the compressed snapshot".to_owned(), error);
        let len = content.metadata().map_err(failed)?.len();
        if len > PART_LEN {
            let condition = condition.filter(|_| !self.refuses_conditions.get());
            return self.write_parts(&self.name(key), content, len, condition);
        }
        let mut at = content;
        at.seek(SeekFrom::Start(0)).map_err(failed)?;
        self.write(key, content, condition)
    }
}

impl Source for Bucket {
    fn open(&self, key: &str, from: u64) -> Result<Option<Reading>, StoreError> {
        let name = self.name(key);
        let url = self.place.get_object(self.credentials.as_ref(), &name).sign(SIGNED_FOR);
        let mut request = self.agent.get(url.as_str());
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        reading(request.call().map_err(|error| unanswered(&error))?, from)
    }

    fn pointer(&self, key: &str, len_max: u64) -> Result<Option<Small>, StoreError> {
        small(self.open(key, 0)?, len_max)
    }
}

impl Store for Bucket {
    fn create(&self, key: &str, content: &File) -> Result<bool, StoreError> {
        // Ask first: the store reports a conflict only after it has received all bytes.
        if self.open(key, 0)?.is_some() {
            return Ok(false);
        }
        self.write_file(key, content, Some((header::IF_NONE_MATCH, "*")))
    }

    fn put(&self, key: &str, content: &File) -> Result<(), StoreError> {
        self.write_file(key, content, None).map(|_| ())
    }

    fn swap(&self, key: &str, former: Option<&Tag>, content: &[u8]) -> Result<bool, StoreError> {
        let condition = match former {
            Some(Tag(tag)) => (header::IF_MATCH, tag.as_str()),
            None => (header::IF_NONE_MATCH, "*"),
        };
        self.write(key, content, Some(condition))
    }

    fn keeps_conditions(&self, format: u32) -> Result<bool, StoreError> {
        let key = format!("{}conditions", prefix(format));
        let write = |name, value| self.write(&key, PROBE, Some((name, value)));
        let absent = || write(header::IF_NONE_MATCH, "*");
        // The first call may have created the object.
        let creates_twice = || Ok(absent()? && absent()?);
        let keeps = creates_twice().and_then(|twice| Ok(!twice && !write(header::IF_MATCH, NO_TAG)?));
        if matches!(keeps, Err(StoreError::NoConditions)) {
            self.refuses_conditions.set(true);
            return Ok(false);
        }
        keeps
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, StoreError> {
        let mut listed = Vec::new();
        let mut next: Option<String> = None;
        for _ in 0..PAGES_MAX {
            let mut list = self.place.list_objects_v2(self.credentials.as_ref());
            list.with_prefix(self.name(prefix));
            if let Some(token) = next.take() {
                list.with_continuation_token(token);
            }
            let response = self.agent.get(list.sign(SIGNED_FOR).as_str()).call();
            let response = response.map_err(|error| unanswered(&error))?;
            if !response.status().is_success() {
                return Err(refusal(response));
            }
            let page = ListObjectsV2::parse_response(&text(response.into_body())?)
                .map_err(|error| StoreError::Refused(format!("its list cannot be read: {error}")))?;
            listed.extend(page.contents.iter().filter_map(|object| {
                let key = object.key.strip_prefix(&self.prefix)?.to_owned();
                let written: jiff::Timestamp = object.last_modified.as_deref()?.parse().ok()?;
                let since = Duration::from_secs(u64::try_from(written.as_second()).ok()?);
                Some(Listed { key, written: SystemTime::UNIX_EPOCH + since })
            }));
            next = page.next_continuation_token;
            if next.is_none() {
                break;
            }
        }
        Ok(listed)
    }

    /// Not every S3 store has a condition for this, so the program checks the object immediately before.
    fn remove(&self, listed: &Listed) -> Result<(), StoreError> {
        if !self.list(&listed.key)?.contains(listed) {
            return Ok(());
        }
        let name = self.name(&listed.key);
        let url = self.place.delete_object(self.credentials.as_ref(), &name).sign(SIGNED_FOR);
        let response = self.agent.delete(url.as_str()).call().map_err(|error| unanswered(&error))?;
        match response.status() {
            status if status.is_success() || status == StatusCode::NOT_FOUND => Ok(()),
            _ => Err(refusal(response)),
        }
    }
}
