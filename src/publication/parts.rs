//! A large object of an S3-compatible store, written in parts: one request takes 5 GiB at most, and a failed
//! request costs only one part.

use std::fs::File;
use std::os::unix::fs::FileExt;

use rusty_s3::S3Action;
use rusty_s3::actions::{CompleteMultipartUploadResponse, CreateMultipartUpload};
use ureq::http::{HeaderName, StatusCode};

use super::bucket::{Bucket, PART_LEN, SIGNED_FOR, STORED_WITHIN};
use super::download::Patience;
use super::error::StoreError;
use super::http::{refusal, tag, text, unanswered};

/// The most parts, by the interface of S3.
const PARTS_MAX: u64 = 10_000;

impl Bucket {
    /// Writes an object of `len` bytes in parts; the result says whether the condition held.
    pub(super) fn write_parts(
        &self,
        name: &str,
        content: &File,
        len: u64,
        condition: Option<(HeaderName, &str)>,
    ) -> Result<bool, StoreError> {
        let upload = self.begin(name)?;
        let written = self
            .send(name, &upload, content, len)
            .and_then(|tags| self.join(name, &upload, &tags, condition));
        if !matches!(written, Ok(true)) {
            self.give_up(name, &upload);
        }
        written
    }

    fn begin(&self, name: &str) -> Result<String, StoreError> {
        let url = self.place.create_multipart_upload(self.credentials.as_ref(), name).sign(SIGNED_FOR);
        let response = self.agent.post(url.as_str()).send_empty().map_err(|error| unanswered(&error))?;
        if !response.status().is_success() {
            return Err(refusal(response));
        }
        let begun = CreateMultipartUpload::parse_response(&text(response.into_body())?);
        let begun = begun.map_err(|error| unreadable(&error))?;
        Ok(begun.upload_id().to_owned())
    }

    /// Sends all parts, and returns their tags.
    fn send(&self, name: &str, upload: &str, content: &File, len: u64) -> Result<Vec<String>, StoreError> {
        let part_len = PART_LEN.max(len.div_ceil(PARTS_MAX));
        let mut tags = Vec::new();
        let mut part = Vec::new();
        for (number, from) in (1_u16..).zip((0..len).step_by(usize::try_from(part_len).unwrap_or(usize::MAX)))
        {
            let this_len = part_len.min(len - from);
            part.resize(usize::try_from(this_len).unwrap_or(usize::MAX), 0);
            let read = content.read_exact_at(&mut part, from);
            read.map_err(|error| StoreError::File("the compressed snapshot".to_owned(), error))?;
            tags.push(Patience::new().retry(|| self.send_part(name, upload, number, &part))?);
        }
        Ok(tags)
    }

    fn send_part(&self, name: &str, upload: &str, number: u16, part: &[u8]) -> Result<String, StoreError> {
        let action = self.place.upload_part(self.credentials.as_ref(), name, number, upload);
        let request = self.agent.put(action.sign(SIGNED_FOR).as_str());
        let request = request.config().timeout_recv_response(Some(STORED_WITHIN)).build();
        let response = request.send(part).map_err(|error| unanswered(&error))?;
        match tag(response.headers()) {
            Some(tag) if response.status().is_success() => Ok(tag.0),
            None if response.status().is_success() => {
                Err(StoreError::Refused("it does not report the tag of a part".to_owned()))
            }
            _ => Err(refusal(response)),
        }
    }

    /// Makes one object out of the parts.
    fn join(
        &self,
        name: &str,
        upload: &str,
        tags: &[String],
        condition: Option<(HeaderName, &str)>,
    ) -> Result<bool, StoreError> {
        let tags = || tags.iter().map(String::as_str);
        let action = || self.place.complete_multipart_upload(self.credentials.as_ref(), name, upload, tags());
        let mut request = self.agent.post(action().sign(SIGNED_FOR).as_str());
        if let Some((name, value)) = condition {
            request = request.header(name, value);
        }
        let request = request.config().timeout_recv_response(Some(STORED_WITHIN)).build();
        let response = request.send(action().body()).map_err(|error| unanswered(&error))?;
        match response.status() {
            // A store that needs long for this answers before it knows the outcome: the text reports it.
            status if status.is_success() => {
                let joined = CompleteMultipartUploadResponse::parse(&text(response.into_body())?);
                joined.map(|_| true).map_err(|error| unreadable(&error))
            }
            StatusCode::PRECONDITION_FAILED | StatusCode::CONFLICT => Ok(false),
            _ => Err(refusal(response)),
        }
    }

    /// Has the store discard the parts, which take space there. A rule of the store may do so after some
    /// days.
    fn give_up(&self, name: &str, upload: &str) {
        let action = self.place.abort_multipart_upload(self.credentials.as_ref(), name, upload);
        // The error that caused this says more.
        let _ = self.agent.delete(action.sign(SIGNED_FOR).as_str()).call();
    }
}

fn unreadable(error: &dyn std::fmt::Display) -> StoreError {
    StoreError::Refused(format!("its answer about an upload in parts cannot be read: {error}"))
}
