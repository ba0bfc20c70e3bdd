//! A folder of a web server, as a read-only store.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ureq::Agent;
use ureq::http::header;

use super::error::StoreError;
use super::http::{agent, reading, small, unanswered};
use super::store::{Reading, Small, Source};
use crate::config::WebPlace;

/// A web server as a store.
pub(super) struct Web {
    agent: Agent,
    place: WebPlace,
}

impl Web {
    pub(super) fn new(place: &WebPlace) -> Self {
        Web { agent: agent(), place: place.clone() }
    }
}

impl Source for Web {
    fn open(&self, key: &str, from: u64) -> Result<Option<Reading>, StoreError> {
        let mut request = self.agent.get(format!("{}{key}", self.place.base));
        if from > 0 {
            request = request.header(header::RANGE, format!("bytes={from}-"));
        }
        if let Some((user, password)) = &self.place.login {
            let login = STANDARD.encode(format!("{}:{}", user.reveal(), password.reveal()));
            request = request.header(header::AUTHORIZATION, format!("Basic {login}"));
        }
        // A cache between server and store must not answer with an old pointer.
        let response = request.header(header::CACHE_CONTROL, "no-cache").call();
        reading(response.map_err(|error| unanswered(&error))?, from)
    }

    fn pointer(&self, key: &str, len_max: u64) -> Result<Option<Small>, StoreError> {
        small(self.open(key, 0)?, len_max)
    }
}
